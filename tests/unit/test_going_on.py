"""A job that was killed and goes on gives what it would have given: the same weights, rows of logs and metrics."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tuning import easy_rows, easy_talks, follow, make_job, start_trainer
from tuning_here import run

from pgml.runtime.tuning.resuming import checkpoints, job_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")  # peft asks for it

TRAINING = {
    "learning_rate": 3e-3,
    "num_train_epochs": 5,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "warmup_steps": 3,
    "use_cpu": True,
}
STEPS = {"eval_strategy": "steps", "eval_steps": 3, "save_steps": 3}
FIRST_IS_BEST = {"metric_for_best_model": "loss", "greater_is_better": True, "learning_rate": 1e-4}
CHANGING = ("timestamp", "runtime", "per_second")


def bytes_of(stored: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in stored.iterdir()}


def rows_of(run):
    """The rows of logs without what is never the same."""
    rows = [frame["logs"] for frame in run.of("log")]
    return [{key: value for key, value in row.items() if not key.endswith(CHANGING)} for row in rows]


@pytest.mark.parametrize(
    ("base", "rows", "hyperparams"),
    [
        ("bert", easy_rows(), {"training_args": TRAINING}),
        ("llama-chat", easy_talks(), {"training_args": {**TRAINING, "logging_steps": 2}, "lora_config": {"r": 4}}),
    ],
    ids=["classifier", "conversation"],
)
def test_a_killed_job_gives_the_same_in_the_end(tiny_model, tmp_path, base, rows, hyperparams):
    whole, cut = (make_job(tmp_path / name, tiny_model(base), rows, hyperparams) for name in ("whole", "cut"))
    uninterrupted, process = start_trainer(whole), start_trainer(cut)
    # The second epoch's evaluation is logged before its checkpoint is written.
    killed = follow(process, cut, until="log")
    while not {"loss", "epoch"} <= killed.last["logs"].keys() or killed.last["logs"]["epoch"] <= 1:
        killed = follow(process, cut, until="log", run=killed)
    process.send_signal(signal.SIGKILL)
    killed = follow(process, cut, run=killed)
    expected = follow(uninterrupted, whole)
    assert (expected.status, killed.status) == (0, -signal.SIGKILL), expected.last

    resumed = follow(start_trainer(cut, "--resume"), cut)
    assert resumed.status == 0, resumed.last
    assert resumed.events[:2] == ["hello", "resumed"]
    step = resumed.of("resumed")[0]["step"]
    assert step > 0
    assert bytes_of(resumed.store(tmp_path / "b")) == bytes_of(expected.store(tmp_path / "a"))
    assert [row for row in rows_of(killed) if row["step"] <= step] + rows_of(resumed) == rows_of(expected)
    before, after = expected.last["metrics"], resumed.last["metrics"]
    assert {
        **after,
        **{key: before[key] for key in before if key.endswith(CHANGING) or key.startswith("peak_")},
    } == before
    assert after["train_tokens_per_second"] == pytest.approx(
        before["train_tokens_per_second"] * before["train_runtime"] / after["train_runtime"], rel=0.01
    )


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    assert not [name for name in one if not torch.equal(one[name], other[name])]


def assert_same(one, other):
    assert_same_weights(one.weights, other.weights)
    for name in ("train_loss", "steps", "best_step", "total_flos", "epoch"):
        assert one.metrics.get(name) == other.metrics.get(name), name


@pytest.mark.parametrize(
    ("changes", "last_step"),
    [
        ({}, 6),  # the first step after a checkpoint
        ({}, 25),  # the last one
        ({"train_sampling_strategy": "group_by_length", **STEPS}, 8),
        ({"lr_scheduler_type": "cosine", "optim": "adafactor", **STEPS}, 5),
        ({"lr_scheduler_type": "reduce_lr_on_plateau", "optim": "sgd", "learning_rate": 0.3}, 12),
        (FIRST_IS_BEST, 22),
        ({"neftune_noise_alpha": 5, "max_steps": 13, "logging_steps": 4, **STEPS}, 12),
        ({"save_total_limit": 3, "eval_strategy": "no", "save_strategy": "steps", "save_steps": 4}, 10),
    ],
)  # fmt: skip
def test_a_classifier_goes_on_exactly(tiny_model, tmp_path, changes, last_step):
    hyperparams = {"training_args": {**TRAINING, **changes}}
    whole, cut = (make_job(tmp_path / name, tiny_model("bert"), easy_rows(), hyperparams) for name in ("whole", "cut"))
    expected = run(whole)
    run(cut, last_step)
    resumed = run(cut, resume=True)
    assert resumed.sent[0]["step"] > 0
    assert_same(resumed, expected)
    # Once more, from the checkpoint of the last step: nothing is left to train.
    again = run(cut, resume=True)
    assert again.sent[0]["step"] == max(checkpoints.step_of(path) for path in again.output.glob("checkpoint-*"))
    assert_same(again, expected)


def test_the_best_weights_are_those_of_before_the_kill(tiny_model, tmp_path):
    hyperparams = {"training_args": {**TRAINING, **FIRST_IS_BEST}}
    job = make_job(tmp_path / "job", tiny_model("bert"), easy_rows(), hyperparams)
    run(job, 23)
    names = sorted(path.name for path in (job / "output").glob("checkpoint-*"))
    resumed = run(job, resume=True)
    assert (names, resumed.metrics["best_step"]) == (["checkpoint-20", "checkpoint-5"], 5)
    assert_same_weights(resumed.weights, load_file(job / "output" / "checkpoint-5" / "model.safetensors"))


@pytest.mark.parametrize(("base", "rows"), [("bert", easy_rows()), ("llama-chat", easy_talks())], ids=["label", "chat"])
def test_an_adapter_goes_on_exactly_within_an_epoch(tiny_model, tmp_path, base, rows):
    training = {**TRAINING, "logging_steps": 3, "eval_strategy": "steps", "eval_steps": 2, "save_steps": 2}
    hyperparams = {"training_args": training, "lora_config": {"r": 4, "lora_dropout": 0.1}}
    whole, cut = (make_job(tmp_path / name, tiny_model(base), rows, hyperparams) for name in "ab")
    expected = run(whole)
    run(cut, 6)
    resumed = run(cut, resume=True)
    assert resumed.sent[0]["step"] == 4
    assert_same(resumed, expected)


def test_without_a_whole_checkpoint_it_starts_anew_and_says_why(tiny_model, tmp_path):
    reasons = {
        "it was cut short before the first checkpoint": ({}, 3),
        'there are no checkpoints with "save_strategy": "no" in training_args': ({"save_strategy": "no"}, 6),
        'checkpoints hold only weights with "save_only_model" in training_args': ({"save_only_model": True}, 6),
    }
    for number, (reason, (changes, last_step)) in enumerate(reasons.items()):
        hyperparams = {"training_args": {**TRAINING, "num_train_epochs": 2, **changes}}
        job = make_job(tmp_path / str(number), tiny_model("bert"), easy_rows(), hyperparams)
        run(job, last_step)
        resumed = run(job, resume=True)
        assert [frame.get("step", frame.get("message")) for frame in resumed.sent[:2]] == [
            0,
            f"training starts anew, because {reason}",
        ]
        assert resumed.metrics["steps"] == 10


def test_a_checkpoint_that_was_being_written_is_not_taken(tiny_model, tmp_path):
    hyperparams = {"training_args": {**TRAINING, "num_train_epochs": 2, "save_total_limit": 5}}
    job = make_job(tmp_path / "job", tiny_model("bert"), easy_rows(), hyperparams)
    expected = run(job)
    optimizer = job / "output" / "checkpoint-10" / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:1000])
    resumed = run(job, resume=True)
    assert resumed.sent[0]["step"] == 5
    assert_same(resumed, expected)


def test_checkpoints_hold_no_pickled_arguments_and_no_paths(tiny_model, tmp_path):
    hyperparams = {"training_args": {**TRAINING, "num_train_epochs": 1}, "lora_config": {"r": 2}}
    names = {}
    for base, rows in (("bert", easy_rows()), ("llama-chat", easy_talks())):
        job = make_job(tmp_path / base, tiny_model(base), rows, hyperparams)
        (folder,) = run(job).output.glob("checkpoint-*")
        names[base] = {path.name for path in folder.iterdir()}
        assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny"
        record = json.loads((folder / "pgml_checkpoint.json").read_text())
        assert record["digest"] == json.loads((job / "job.json").read_text())["analysis"]["digest"]
        assert (record["base_name"], record["training_args"]["learning_rate"]) == ("tiny", 3e-3)
    assert names["bert"] == names["llama-chat"] == {
        "adapter_config.json", "adapter_model.safetensors", "optimizer.pt", "pgml_checkpoint.json", "rng_state.pth",
        "scheduler.pt", "trainer_state.json",
    }  # fmt: skip


def test_the_best_weights_are_loaded_where_files_have_former_names(tiny_copy, tmp_path):
    weights = load_file(tiny_copy / "model.safetensors")
    former = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): tensor for name, tensor in weights.items()}
    save_file(former, tiny_copy / "model.safetensors", metadata={"format": "pt"})
    hyperparams = {"training_args": {**TRAINING, **FIRST_IS_BEST}}
    job = make_job(tmp_path / "job", tiny_copy, easy_rows(), hyperparams)
    done = run(job)
    assert (done.metrics["best_step"], done.metrics["steps"]) == (5, 25)
    assert_same_weights(done.weights, load_file(done.output / "checkpoint-5" / "model.safetensors"))


def test_a_long_epoch_has_checkpoints_too(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(job_trainer, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    hyperparams = {"training_args": {**TRAINING, "num_train_epochs": 2}}
    whole, cut = (make_job(tmp_path / name, tiny_model("bert"), easy_rows(), hyperparams) for name in ("whole", "cut"))
    expected = run(whole)
    run(cut, 4)
    resumed = run(cut, resume=True)
    assert resumed.sent[0]["step"] == 3
    assert_same(resumed, expected)
