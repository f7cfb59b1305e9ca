"""A trainer ends in a way that it should not."""

from __future__ import annotations

import os
import signal

import pytest
from tests.cluster import wait_until
from tests.faults.test_cancels import SLOW_FILES
from tests.faults.tuning import is_running, nothing_left

FAILED = "38000"  # external_routine_exception


def failed(tuning, *words):
    """The job is recorded as failed, its caller got the same error, and nothing is left. Gives the error."""
    tuning.end(10)
    assert tuning.error is not None, tuning.result
    assert (tuning.status, tuning.row("sqlstate")[0]) == ("failed", tuning.error.sqlstate)
    recorded = tuning.row("error")[0]
    assert tuning.error.diag.message_primary in recorded
    for word in words:
        assert word in recorded
    assert tuning.row("finished_at")[0]
    nothing_left(tuning.database)
    assert tuning.database.value("SELECT count(*) FROM pgml.files") == 0
    return tuning.error


def test_a_real_training_that_is_killed(tune):
    tuning = tune()
    os.kill(tuning.trains(), signal.SIGKILL)
    error = failed(tuning, "signal 9")
    assert error.sqlstate == FAILED
    assert error.diag.message_hint
    assert tuning.log_rows() > 0


def test_a_real_training_that_is_asked_to_stop_from_outside(tune):
    tuning = tune()
    os.kill(tuning.trains(), signal.SIGTERM)
    failed(tuning, "stop")
    assert tuning.log_rows() > 0


def test_killed_while_it_sends_its_files(tune, database, interpreter):
    database.run(SLOW_FILES)
    with interpreter.fake_trainer("--steps 2 --parts 100"):
        tuning = tune()
        storing = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pgml job' AND wait_event = 'PgSleep'"
        wait_until(lambda: database.value(storing), "the first part")
        os.kill(tuning.trainers()[0], signal.SIGKILL)
        tuning.end(20)
    failed(tuning, "signal 9")


SCRIPTS = {
    "exits": ("echo 'first'; echo 'no luck today' >&2; exit 7", ["exit status 7"]),
    "exits without a word": ("exit 0", ["exit status 0"]),
    "says it in a log line": (
        """echo '{"level": "ERROR", "message": "package torch is missing", "hint": "Install it."}' >&2; exit 3""",
        ["exit status 3"],
    ),
    "is no Python": ('exec "/nowhere/python"', ["exit status 127"]),
    "speaks another protocol": ("echo 'Python 2.7.18 (default)'; exec sleep 1000", []),
    "crashes": ("kill -SEGV $$", ["signal 11"]),
    "floods its log": ("head -c 20000000 /dev/zero | tr '\\\\0' '\\\\n' >&2; exit 9", ["exit status 9"]),
}


@pytest.mark.parametrize("how", SCRIPTS)
def test_a_trainer_that(tune, interpreter, how):
    script, words = SCRIPTS[how]
    with interpreter.trainer(script):
        error = failed(tune(), *words)
    assert error.sqlstate in {FAILED, "08P01"}
    if how == "exits":
        assert "no luck today" in error.diag.message_detail
    if how == "says it in a log line":
        assert error.diag.message_detail == "package torch is missing"
        assert error.diag.message_hint == "Install it."


def test_an_interpreter_that_is_gone_when_the_job_starts(tune, database, interpreter):
    database.run("CREATE VIEW slow AS SELECT id, body || pg_sleep(0.02)::text AS body, verdict FROM reviews")
    hidden = interpreter.path.with_name("hidden")
    tuning = tune(relation="slow")
    tuning.heard("reading the rows")
    interpreter.path.rename(hidden)
    try:
        error = failed(tuning, str(interpreter.path))
    finally:
        hidden.rename(interpreter.path)
    assert error.sqlstate == FAILED
    assert "pgml.python" in error.diag.message_hint


def test_what_a_killed_trainer_started_ends_with_it(tune, database, interpreter):
    """As a DataLoader's workers do, the child holds the trainer's pipes open."""
    with interpreter.fake_trainer(before="sleep 1000 &"):
        tuning = tune()
        tuning.trains()
        sleeper = next(pid for pid, command in database.cluster.processes() if command == "sleep 1000")
        os.kill(tuning.trainers()[0], signal.SIGKILL)
        tuning.end(5)
    failed(tuning, "signal 9")
    wait_until(lambda: not is_running(sleeper), "the child to end", 2)


def test_many_log_lines_do_not_hold_up_the_events(tune, interpreter):
    with interpreter.fake_trainer("--steps 20", before="(while :; do echo noise; done) >&2 &"):
        tuning = tune()
        tuning.end(20)
    assert tuning.result is not None, tuning.error
    assert tuning.result[0] == "successful"
    nothing_left(tuning.database)


def test_the_next_job_works(tune, interpreter):
    with interpreter.fake_trainer():
        tuning = tune()
        tuning.trains()
        os.kill(tuning.trainers()[0], signal.SIGKILL)
        failed(tuning)
    with interpreter.fake_trainer("--steps 3"):
        tuning = tune()
        tuning.end(10)
    assert tuning.result[0] == "successful"
