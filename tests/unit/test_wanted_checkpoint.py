"""`resume_from_checkpoint`: training goes on from a checkpoint that lies in the directory of its model."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from hub_requests import hub_object
from test_check import fault_of, request
from tuning import easy_rows, easy_talks, make_job
from tuning_here import run

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.tuning.check import check_tune
from pgml.runtime.tuning.resuming.wanted_checkpoint import wants_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")  # peft asks for it

TRAINING = {
    "learning_rate": 3e-3,
    "num_train_epochs": 4,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "warmup_steps": 3,
    "use_cpu": True,
}
FIRST_IS_BEST = {"metric_for_best_model": "loss", "greater_is_better": True, "learning_rate": 1e-4}
ON = {"training_args": {"resume_from_checkpoint": True}}


def pushed(job: Path, model: Path, target: Path, **names: int) -> Path:
    """A directory as a repository on the Hub is: a model, and checkpoints of a job in folders."""
    shutil.copytree(model, target)
    for name, step in names.items():
        shutil.copytree(job / "output" / f"checkpoint-{step}", target / name.replace("_", "-"))
    return target


@pytest.fixture(scope="module")
def jobs(one_thread, tiny_model, tmp_path_factory):
    """A job that ran to its end, and one that was killed after its second epoch: after 10 of 20 steps."""
    home = tmp_path_factory.mktemp("jobs")
    whole, cut = (make_job(home / name, tiny_model("bert"), None, {"training_args": TRAINING}) for name in "ab")
    expected = run(whole)
    run(cut, 13)
    return expected, cut


@pytest.fixture
def repository(jobs, tiny_model, tmp_path):
    return pushed(jobs[1], tiny_model("bert"), tmp_path / "repository", last_checkpoint=10)


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert not [name for name in one if not torch.equal(one[name], other[name])]


@pytest.mark.parametrize("value", [True, "true", "last-checkpoint"])
def test_training_goes_on_exactly_with_the_arguments_of_the_checkpoint(jobs, repository, tmp_path, value):
    job = make_job(tmp_path / "job", repository, None, {"training_args": {"resume_from_checkpoint": value}})
    plan = json.loads((job / "job.json").read_text())["plan"]
    assert plan["checkpoint"] == str(repository / "last-checkpoint")
    training_args = plan["hyperparams"]["training_args"]
    assert (training_args["resume_from_checkpoint"], training_args["warmup_steps"]) == ("last-checkpoint", 3)
    done = run(job)
    assert done.notices[0] == "training goes on after step 10 of checkpoint last-checkpoint"
    assert done.metrics["steps"] == 20
    assert next(row["logs"]["step"] for row in done.sent if row["event"] == "log") == 11
    assert_same(done.weights, jobs[0].weights)
    assert done.metrics["train_loss"] == jobs[0].metrics["train_loss"]
    assert not (job / "output" / "checkpoint-20" / "training_args.bin").exists()


def test_a_job_that_goes_on_from_a_checkpoint_is_killed_and_goes_on(jobs, repository, tmp_path):
    job = make_job(tmp_path / "job", repository, None, ON)
    run(job, 17)
    resumed = run(job, resume=True)
    assert resumed.sent[0] == {"event": "resumed", "step": 15}
    assert_same(resumed.weights, jobs[0].weights)
    shutil.rmtree(job / "output")
    anew = run(job, resume=True)
    assert anew.sent[0] == {"event": "resumed", "step": 0}
    assert_same(anew.weights, jobs[0].weights)


def test_an_adapter_goes_on_exactly(tiny_model, tmp_path):
    base = tiny_model("llama-chat")
    hyperparams = {"training_args": {**TRAINING, "per_device_train_batch_size": 2}, "lora_config": {"r": 4}}
    whole, cut = (make_job(tmp_path / name, base, easy_talks(), hyperparams) for name in "ab")
    expected = run(whole)
    run(cut, 13)
    repository = pushed(cut, whole / "model", tmp_path / "repository", checkpoint_10=10)
    adapter = {"name": "earlier", "path": str(repository)}
    done = run(make_job(tmp_path / "c", base, easy_talks(), ON, adapter=adapter))
    assert "training goes on after step 10 of checkpoint checkpoint-10" in done.notices
    assert_same(done.weights, expected.weights)


def test_the_best_checkpoint_so_far_is_used_where_it_is_there_too(tiny_model, tmp_path):
    hyperparams = {"training_args": {**TRAINING, **FIRST_IS_BEST}}
    cut = make_job(tmp_path / "cut", tiny_model("bert"), None, hyperparams)
    run(cut, 13)
    both = pushed(cut, tiny_model("bert"), tmp_path / "both", checkpoint_5=5, checkpoint_10=10)
    alone = pushed(cut, tiny_model("bert"), tmp_path / "alone", last_checkpoint=10)
    best = [run(make_job(tmp_path / f"job-{at.name}", at, None, ON)).metrics["best_step"] for at in (both, alone)]
    assert best == [5, 15]


def test_other_rows_and_arguments_are_told_and_training_goes_on(repository, tmp_path):
    rows = easy_rows()
    rows["text"][0] = "another"
    given = {"training_args": {"resume_from_checkpoint": "last-checkpoint", "learning_rate": 1e-3}}
    done = run(make_job(tmp_path / "job", repository, rows, given))
    assert done.notices[:2] == [
        "the rows, or their order, are not those of checkpoint last-checkpoint",
        "training_args that are others than at checkpoint last-checkpoint: learning_rate",
    ]
    assert done.metrics["steps"] == 20


def test_other_labels_are_an_error(repository, tmp_path):
    rows = easy_rows()
    rows["label"][0] = "new"
    with pytest.raises(RuntimeFault, match="the rows have other labels than checkpoint last-checkpoint") as caught:
        run(make_job(tmp_path / "job", repository, rows, ON))
    assert caught.value.sqlstate == "22023"


def test_a_checkpoint_of_other_software_is_taken_and_told(jobs, repository, tmp_path):
    (repository / "last-checkpoint" / "pgml_checkpoint.json").unlink()
    (repository / "last-checkpoint" / "training_args.bin").write_bytes(b"never read")
    job = make_job(tmp_path / "job", repository, None, {"training_args": {**TRAINING, "resume_from_checkpoint": True}})
    assert json.loads((job / "job.json").read_text())["plan"]["notices"] == [
        "checkpoint last-checkpoint is not of pgml: whether it was made of the same rows is not known"
    ]
    assert_same(run(job).weights, jobs[0].weights)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_code_in_a_checkpoint_is_not_run(repository, tmp_path, name):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "was here",)

    folder = repository / "last-checkpoint"
    (folder / "pgml_checkpoint.json").unlink()
    torch.save({"state": Evil()}, folder / name)
    with pytest.raises(
        RuntimeFault, match="a file of the checkpoint holds more than numbers, and is not read"
    ) as caught:
        run(make_job(tmp_path / "job", repository, None, {"training_args": {**TRAINING, **ON["training_args"]}}))
    assert caught.value.sqlstate == "0A000"
    (folder / name).write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(RuntimeFault):
        run(make_job(tmp_path / "again", repository, None, {"training_args": {**TRAINING, **ON["training_args"]}}))
    assert not (tmp_path / "was here").exists()


def remove(name):
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("value", "spoil", "message", "hint"),
    [
        (
            "checkpoint-7",
            None,
            'the model\'s directory holds no checkpoint "checkpoint-7"',
            "There is: last-checkpoint.",
        ),
        ("../x", None, 'the model\'s directory holds no checkpoint "../x"', "There is: last-checkpoint."),
        (7, None, "the model's directory holds no checkpoint 7", "There is: last-checkpoint."),
        (True, shutil.rmtree, "the model's directory holds no checkpoint", "hub_strategy"),
        (True, remove("optimizer.pt"), 'checkpoint "last-checkpoint" cannot be used: it lacks optimizer.pt', None),
        (True, remove("model.safetensors"), "it lacks weights in safetensors format", None),
        (
            True,
            lambda f: (f / "scheduler.pt").write_bytes(b""),
            "its files are not all there as they were written",
            None,
        ),
        (True, lambda f: (f / "trainer_state.json").write_text("{}"), "does not tell its step", None),
    ],
)
def test_what_cannot_be_gone_on_from_is_refused(repository, value, spoil, message, hint):
    if spoil:
        spoil(repository / "last-checkpoint")
    columns = {"text": "text", "label": "text"}
    fault = fault_of(str(repository), columns, hyperparams={"training_args": {"resume_from_checkpoint": value}})
    assert fault.message.startswith('"resume_from_checkpoint" in training_args: ')
    assert message in fault.message
    assert fault.sqlstate == "22023"
    if hint:
        assert hint in fault.hint


def test_a_checkpoint_for_another_kind_of_task_is_refused(repository):
    path = repository / "last-checkpoint" / "pgml_checkpoint.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "task": "conversation"}))
    fault = fault_of(str(repository), {"text": "text", "label": "text"}, hyperparams=ON)
    assert fault.message.endswith("it was made for conversation")


def test_settings_of_pushing_are_not_taken_over_from_a_checkpoint(repository):
    path = repository / "last-checkpoint" / "pgml_checkpoint.json"
    record = json.loads(path.read_text())
    record["training_args"] |= {"push_to_hub": True, "hub_model_id": "someone/else", "hub_strategy": "end"}
    path.write_text(json.dumps(record))
    plan = check_tune(request({"text": "text", "label": "text"}, hyperparams=ON), str(repository))
    assert plan["push"] is None
    assert not [name for name in plan["hyperparams"]["training_args"] if "hub" in name]


@pytest.mark.parametrize("value", [None, False, "false", ""])
def test_none_is_wanted(repository, value):
    hyperparams = {"training_args": {"resume_from_checkpoint": value}}
    header = request({"text": "text", "label": "text"}, hyperparams=hyperparams)
    assert wants_checkpoint(header) is False
    plan = check_tune(header, str(repository))
    assert plan["checkpoint"] is None
    assert "resume_from_checkpoint" not in plan["hyperparams"]["training_args"]
    assert wants_checkpoint({"hyperparams": ON}) is True


@pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")
def test_training_goes_on_from_a_checkpoint_on_the_hub(jobs, repository, backend, hub, hub_api, tmp_path):
    hub_api.create_repo("tester/goes-on")
    hub_api.upload_folder(repo_id="tester/goes-on", folder_path=repository)
    hub_settings = hub_object(hub, tmp_path / "cache", push_token=None)
    model = {"kind": "hub", "name": "tester/goes-on", "revision": None, "hub": hub_settings}
    columns = {"text": "text", "label": "text"}
    backend.send({"op": "check_tune", **request(columns, model=model, hyperparams=ON), "hub": hub_settings})
    while "notice" in (header := backend.read()[0]):
        pass
    plan = header["plan"]
    assert Path(plan["checkpoint"]).is_relative_to(tmp_path / "cache")
    job = make_job(tmp_path / "job", Path(plan["base"]), None, ON)
    assert json.loads((job / "job.json").read_text())["plan"]["checkpoint"] == plan["checkpoint"]
    assert_same(run(job).weights, jobs[0].weights)
    assert not [path for path in (job / "output").rglob("*") if path.is_symlink()]
