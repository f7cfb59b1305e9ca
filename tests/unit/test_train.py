"""The trainer as a process: what it sends, in which order, and how it ends."""

from __future__ import annotations

import json
import signal
import sys
import time
from datetime import UTC, datetime

import pytest
import torch
import tuning_here
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from tuning import WORDS, easy_rows, follow, make_job, start_trainer, train

from pgml import __version__
from pgml.runtime.tuning.examples import progress

FAST = {"training_args": {"learning_rate": 3e-3, "num_train_epochs": 6, "per_device_train_batch_size": 8}}


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """One run that several tests look at, and the model it sent."""
    directory = tmp_path_factory.mktemp("trained")
    columns = easy_rows()
    columns["text"][0] = "word " * 200
    run = train(make_job(directory / "job", tiny_model("bert"), columns, FAST))
    assert run.status == 0, run.last
    return run, run.store(directory / "stored"), directory / "job"


def test_frames_come_in_order(trained):
    run, _, _ = trained
    hello = run.frames[0][0]
    assert (hello["hello"], hello["protocol"]) == ("pgml", 1)
    assert list(dict.fromkeys(run.events)) == ["hello", "notice", "progress", "log", "file", "done"]
    assert run.events.count("done") == 1
    assert run.events[run.events.index("file") :] == ["file"] * run.events.count("file") + ["done"]
    assert len(run.of("progress")) <= 2 + run.of("log")[-1]["logs"]["train_runtime"], "at most one a second"


def test_notices_say_what_happens_before_the_first_step(trained):
    run, _, _ = trained
    assert [frame["message"] for frame in run.of("notice")] == [
        "loading the base model",
        "tokenising 48 rows",
        "1 of 48 rows are longer than the model takes and were truncated",
        "training on 36 rows, testing on 12, on the CPU",
    ]


def test_long_tokenising_says_how_far_it_is(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_NOTICES", 0)
    job = make_job(tmp_path / "job", tiny_model("bert"), easy_rows(3000), {"training_args": {"max_steps": 1}})
    tuned = tuning_here.run(job)
    told = [notice for notice in tuned.notices if notice.startswith("tokenised ")]
    # Three batches of the 2250 rows to learn, then one of the others.
    assert told == [f"tokenised {rows} of 3000 rows" for rows in (1000, 2000, 2250)]


def test_log_rows_have_the_keys_that_users_read(trained):
    run, _, _ = trained
    rows = [frame["logs"] for frame in run.of("log")]
    losses = [row for row in rows if "loss" in row]
    assert len(losses) == 30
    assert losses[0].keys() == {"loss", "grad_norm", "learning_rate", "epoch", "step", "max_steps", "timestamp"}
    assert [row["step"] for row in losses] == list(range(1, 31))
    assert {row["max_steps"] for row in rows} == {30}
    assert losses[-1]["loss"] < losses[0]["loss"]
    ages = [(datetime.now(UTC) - datetime.fromisoformat(row["timestamp"])).total_seconds() for row in rows]
    assert ages == sorted(ages, reverse=True)
    assert 0 <= ages[-1] < 600
    evaluations = [row for row in rows if "eval_loss" in row]
    assert [row["epoch"] for row in evaluations] == [1, 2, 3, 4, 5, 6]
    assert {"eval_accuracy", "eval_f1"} <= evaluations[0].keys()


def test_metrics(trained):
    run, _, _ = trained
    metrics = run.last["metrics"]
    assert metrics["accuracy"] >= 0.9
    assert metrics["f1"] >= 0.9
    assert metrics["classes"].keys() == WORDS.keys()
    assert sum(score["support"] for score in metrics["classes"].values()) == 12
    assert metrics["confusion_matrix"]["labels"] == sorted(WORDS)
    assert (metrics["train_rows"], metrics["test_rows"], metrics["truncated_rows"]) == (36, 12, 1)
    assert (metrics["epoch"], metrics["steps"]) == (6, 30)
    assert metrics["peak_memory_bytes"] > 100 << 20
    for name in (
        "loss",
        "train_loss",
        "train_runtime",
        "train_samples_per_second",
        "train_tokens_per_second",
        "total_flos",
    ):
        assert metrics[name] > 0, name
    assert not [name for name in metrics if name.startswith("eval_")]


def test_the_files_are_a_model_that_predicts_the_labels(trained):
    _, stored, _ = trained
    names = sorted(path.name for path in stored.iterdir())
    assert names == ["config.json", "model.safetensors", "pgml.json", "tokenizer.json", "tokenizer_config.json"]
    assert json.loads((stored / "pgml.json").read_text()) == {
        "format": 1,
        "task": "text-classification",
        "tokenizer_args": {},
        "pgml_version": __version__,
    }
    model = AutoModelForSequenceClassification.from_pretrained(stored)
    assert model.config.id2label == {0: "bad", 1: "good", 2: "late"}
    assert model.dtype == torch.float32
    tokens = AutoTokenizer.from_pretrained(stored)(
        [f"{text} 7" for text in WORDS.values()], padding=True, return_tensors="pt"
    )
    assert [model.config.id2label[n] for n in model(**tokens).logits.argmax(-1).tolist()] == list(WORDS)


def test_the_log_is_json_lines_and_quiet(trained):
    run, _, _ = trained
    for line in run.log:
        assert json.loads(line)["level"] in ("DEBUG", "INFO", "WARNING"), line


def test_the_same_seed_gives_the_same_weights_and_another_does_not(trained, tiny_model, tmp_path):
    _, stored, _ = trained
    columns = easy_rows()
    columns["text"][0] = "word " * 200
    again = train(make_job(tmp_path / "again", tiny_model("bert"), columns, FAST)).store(tmp_path / "stored")
    first, second = load_file(stored / "model.safetensors"), load_file(again / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    seeded = {"training_args": {**FAST["training_args"], "seed": 7}}
    other = train(make_job(tmp_path / "other", tiny_model("bert"), columns, seeded)).store(tmp_path / "stored2")
    third = load_file(other / "model.safetensors")
    assert not torch.equal(first["classifier.weight"], third["classifier.weight"])


def test_training_goes_on_from_own_weights(trained, tmp_path):
    _, stored, _ = trained
    still = {"training_args": {"learning_rate": 0, "max_steps": 1}}
    run = train(make_job(tmp_path / "job", stored, None, still))
    assert "the model has these labels already, training goes on from its weights" in [
        frame["message"] for frame in run.of("notice")
    ]
    before, after = (
        load_file(stored / "model.safetensors"),
        load_file(run.store(tmp_path / "new") / "model.safetensors"),
    )
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert run.last["metrics"]["accuracy"] >= 0.9


def test_pairs_with_a_decoder_without_padding_token(tiny_model, tmp_path):
    columns = {
        "text1": [f"{WORDS[label]} {n}" for n, label in enumerate(easy_rows()["label"])],
        "text2": ["yes" if n % 2 else "no" for n in range(48)],
        "label": ["yes" if n % 2 else "no" for n in range(48)],
    }
    hyperparams = {"training_args": {"learning_rate": 3e-3, "max_steps": 2}, "tokenizer_args": {"max_length": 24}}
    run = train(make_job(tmp_path / "job", tiny_model("llama"), columns, hyperparams))
    assert run.status == 0, run.last
    stored = run.store(tmp_path / "stored")
    config = json.loads((stored / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    assert config["id2label"] == {"0": "no", "1": "yes"}
    tokenizer = AutoTokenizer.from_pretrained(stored)
    assert config["pad_token_id"] == tokenizer.pad_token_id == tokenizer.eos_token_id
    about = json.loads((stored / "pgml.json").read_text())
    assert (about["task"], about["tokenizer_args"]) == ("text-pair-classification", {"max_length": 24})


def test_a_label_only_in_the_test_part_is_part_of_the_model(tiny_model, tmp_path):
    columns = easy_rows()
    columns["label"][-1] = "unseen"
    hyperparams = {"training_args": {"max_steps": 1}}
    job = make_job(tmp_path / "job", tiny_model("bert"), columns, hyperparams, test_sampling="last", test_size=6)
    run = train(job)
    assert run.status == 0, run.last
    assert run.last["metrics"]["classes"]["unseen"]["support"] == 1


def test_a_loss_that_is_no_number_ends_the_job_with_a_hint(tiny_model, tmp_path):
    hyperparams = {"training_args": {"learning_rate": 1e30, "max_grad_norm": 0, "num_train_epochs": 30}}
    run = train(make_job(tmp_path / "job", tiny_model("bert"), None, hyperparams))
    assert run.status == 1
    error = run.last["error"]
    assert error["sqlstate"] == "22003"
    assert "became nan at step" in error["message"]
    assert "learning_rate" in error["hint"]
    assert "file" not in run.events
    assert run.of("log")[-1]["logs"]["loss"] is None, "jsonb has no NaN"


@pytest.mark.parametrize("moment", ["hello", "notice", "log", "file"])
def test_sigterm_stops_it_wherever_it_is(tiny_model, tmp_path, moment):
    hyperparams = {"training_args": {"num_train_epochs": 1 if moment == "file" else 5000, "eval_strategy": "no"}}
    job = make_job(tmp_path / "job", tiny_model("bert"), None, hyperparams)
    process = start_trainer(job)
    run = follow(process, job, until=moment)
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    run = follow(process, job, run=run)
    assert time.monotonic() - asked < 1.5, "SIGKILL follows then"
    assert run.status == 1
    assert run.last["event"] == "error"
    assert run.last["error"]["sqlstate"] == "57014"
    assert "done" not in run.events


def test_sigterm_is_heard_during_an_evaluation(tiny_model, tmp_path):
    columns = easy_rows(6000)
    hyperparams = {"training_args": {"max_steps": 1, "per_device_eval_batch_size": 1}}
    job = make_job(tmp_path / "job", tiny_model("bert"), columns, hyperparams, test_size=5900)
    process = start_trainer(job)
    run = follow(process, job, until="log")
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    run = follow(process, job, run=run)
    assert time.monotonic() - asked < 1.5
    assert run.last["error"]["sqlstate"] == "57014"
    assert not [frame for frame in run.of("log") if "eval_loss" in frame["logs"]]


def test_a_job_that_cannot_be_read_is_an_error_frame(tmp_path):
    run = train(tmp_path)
    assert run.status == 1
    assert run.events == ["hello", "error"]
    assert run.last["error"]["message"] == "could not tune the model"
    assert "job.json" in run.last["error"]["detail"]
    assert any("Traceback" in json.loads(line)["message"] for line in run.log)


def test_a_missing_package_is_named_with_the_command_that_installs_it(tiny_model, tmp_path):
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text("import sys\nsys.modules['sklearn'] = None\n")
    job = make_job(tmp_path / "job", tiny_model("bert"))
    run = train(job, PYTHONPATH=str(tmp_path / "path"))
    assert run.status == 3
    assert run.events == ["hello"]
    line = json.loads(run.log[-1])
    assert line["level"] == "ERROR"
    assert "sklearn" in line["message"]
    assert sys.executable in line["message"]
    assert "make install" in line["hint"]
