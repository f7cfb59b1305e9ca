"""The command line without a database: help, usage, errors on one line. And what it shows of logs."""

from __future__ import annotations

import psycopg
import pytest

from pgml import __version__
from pgml.cli import main
from pgml.cli.errors import explain
from pgml.doctor_host import runtime_pins
from pgml.progress import Bar, Lines, Silence, describe, display, samples

NOWHERE = ["--database-url", "host=/nonexistent"]
LOGS = {"step": 20, "max_steps": 108, "epoch": 0.55556, "loss": 1.02345, "learning_rate": 4.1e-5, "timestamp": 1.7e9}


def test_help_of_everything(capsys):
    commands = ["chat", "jobs", "logs", "doctor"]
    for arguments in ([], *([command] for command in commands)):
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--help"])
        assert end.value.code == 0
        shown = capsys.readouterr().out
        assert "--database-url" in shown
        assert all(command in shown for command in arguments or commands)


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"pgml {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["sing"], ["chat"], ["logs", "last"]])
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: pgml" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["jobs"], ["logs", "1"], ["logs", "-f", "1"]])
@pytest.mark.parametrize("first", [True, False])
def test_an_unreachable_server_is_one_line(command, first, capsys):
    assert main([*NOWHERE, *command] if first else [*command, *NOWHERE]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("pgml: ")
    assert shown.err.count("\n") == 1
    assert "No such file" in shown.err


def test_the_doctor_names_an_unreachable_server_and_what_to_do(capsys):
    assert main(["doctor", *NOWHERE]) == 1
    found, mend = capsys.readouterr().out.splitlines()
    assert found.startswith("problem  connection: ")
    assert mend.strip().startswith("to mend: Start the server")


def test_an_error_without_a_server_behind_it():
    assert explain(psycopg.OperationalError("connection failed:\n\tno route")) == "connection failed: no route"


def test_a_log_row_on_a_line():
    assert describe(LOGS) == "step 20/108, epoch 0.5556: loss 1.0234, learning_rate 4.10e-05"
    assert describe({"train_loss": 0.5, "eval_samples": []}) == "train_loss 0.5000"
    sample = {"prompt": "Who are\nyou?", "wanted": "I am Pia.", "answer": "A model."}
    assert samples({"eval_samples": [sample]}) == ["  Who are you? → A model. (wanted: I am Pia.)"]
    assert samples(LOGS) == []


def test_progress_as_lines(capsys):
    shown = display("reviews", shown=True)
    assert isinstance(shown, Lines)
    shown.say("NOTICE: training on 3 rows")
    shown.advance(20, 108)
    shown.log(LOGS)
    shown.close()
    assert capsys.readouterr().err.splitlines() == ["NOTICE: training on 3 rows", describe(LOGS)]


def test_progress_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "140")
    shown = display("reviews", shown=None)
    assert isinstance(shown, Bar)
    shown.say("NOTICE: [3 rows]")
    shown.advance(20, 108)
    shown.log(LOGS)
    shown.log({"step": 20, "eval_loss": 0.25})
    shown.close()
    printed = capsys.readouterr().err
    assert "NOTICE: [3 rows]" in printed  # brackets are not markup
    assert "eval_loss 0.2500" in printed
    assert "20/108" in printed
    assert "loss 1.0234" in printed


def test_no_progress(capsys):
    shown = display("reviews", shown=False)
    assert isinstance(shown, Silence)
    shown.say("NOTICE")
    shown.log(LOGS)
    shown.advance(1, 2)
    shown.close()
    assert capsys.readouterr() == ("", "")


def test_the_pins_of_the_runtime_are_known():
    assert {"torch", "transformers"} <= runtime_pins().keys()
