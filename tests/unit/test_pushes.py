"""A job that pushes: what it sends, what lands on the Hub, and that nothing of the Hub stops it."""

from __future__ import annotations

import base64
import json
import signal
import time
from pathlib import Path

import pytest
from hub_requests import hub_object
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import TrainerControl, TrainerState, TrainingArguments
from tuning import easy_talks, follow, make_job, start_trainer

from pgml.runtime.hub.names import default_name
from pgml.runtime.tuning.pushes import Pushes

SECRET = "hf_veryverysecretTrainer0123"
EPOCHS = {"learning_rate": 3e-3, "num_train_epochs": 2, "per_device_train_batch_size": 12}
MODEL = {"config.json", "model.safetensors", "pgml.json", "tokenizer.json", "tokenizer_config.json"}
STATE = {"optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"}


@pytest.fixture
def repository(request):
    """The name of a repository that only this test uses."""
    return f"tester/{default_name(request.node.name)[:80]}"


@pytest.fixture
def push(repository):
    """Makes the "push" of a plan."""

    def make(strategy, **changes):
        where = {"repo_id": repository, "private": True, "revision": None}
        return {**where, "strategy": strategy, "always_push": False, **changes}

    return make


@pytest.fixture
def settings(hub, tmp_path):
    """The "hub" object for the job, with a token that is easy to find."""
    hub.add_token(SECRET, name="marked", user="tester")
    return hub_object(hub, tmp_path / "cache", SECRET)


@pytest.fixture
def job(tiny_model, tmp_path):
    """Makes a job that pushes."""

    def make(push, base="bert", columns=None, **hyperparams):
        directory = make_job(tmp_path / "job", tiny_model(base), columns, {"training_args": EPOCHS, **hyperparams})
        request = json.loads((directory / "job.json").read_text())
        request["plan"]["push"] = push
        (directory / "job.json").write_text(json.dumps({**request, "relation": "public.reviews", "base_model": "tiny"}))
        return directory

    return make


def files_of(api, repository, **revision):
    return {name for name in api.list_repo_files(repository, **revision) if name != ".gitattributes"}


def pushes_of(run):
    return [frame["logs"]["push"] for frame in run.of("log") if "push" in frame["logs"]]


def test_a_hub_that_is_down_meanwhile_has_the_model_and_its_card_in_the_end(
    job, push, settings, hub, hub_api, repository, tmp_path
):
    directory = job(push("every_save"), training_args={**EPOCHS, "num_train_epochs": 4})
    process = start_trainer(directory, hub=settings)
    ended = follow(process, directory, until="progress")
    with hub.down():
        ended = follow(process, directory, until="done", run=ended)
    ended = follow(process, directory, run=ended)
    assert ended.status == 0, ended.last
    assert ended.of("done")[0]["metrics"]["epoch"] == 4
    assert [push for push in pushes_of(ended) if "error" in push]
    info = hub_api.model_info(repository)
    address = {"repo_id": repository, "url": f"{hub.endpoint}/{repository}", "commit": info.sha, "private": True}
    assert ended.last == {"event": "pushed", "hub": address}
    assert files_of(hub_api, repository) == {*MODEL, "README.md"}
    stored = ended.store(tmp_path / "stored")
    assert {path.name for path in stored.iterdir()} == MODEL, "the card is not stored"
    pulled = Path(hub_api.snapshot_download(repository, local_dir=tmp_path / "pulled"))
    assert all((pulled / name).read_bytes() == (stored / name).read_bytes() for name in MODEL)
    card = ModelCard.load(pulled / "README.md")
    measured = {one.metric_type: one.metric_value for one in card.data.eval_results}
    assert measured["accuracy"] == ended.of("done")[0]["metrics"]["accuracy"]
    assert "| relation | `public.reviews` |" in card.text
    check_no_token_rests(hub.directory, directory, tmp_path / "cache")
    assert SECRET not in str(ended.frames)
    assert not list((directory / "pushes").iterdir())


def check_no_token_rests(*places):
    forms = [SECRET.encode(), base64.b64encode(SECRET.encode()).rstrip(b"=")]
    for path in (path for place in places for path in Path(place).rglob("*") if path.is_file()):
        assert not [form for form in forms if form in path.read_bytes()], path


def test_the_last_checkpoint_of_an_adapter_names_its_base(job, push, settings, hub_api, repository, tmp_path):
    directory = job(push("checkpoint", always_push=True), "llama-chat", easy_talks(), lora_config={"r": 2})
    ended = follow(start_trainer(directory, hub=settings), directory)
    assert ended.status == 0, ended.last
    adapter = {"adapter_config.json", "adapter_model.safetensors", "pgml.json"}
    told = pushes_of(ended)
    commits = {commit.commit_id: commit.title for commit in hub_api.list_repo_commits(repository)}
    assert [commits[push["commit"]] for push in told] == [f"Training in progress, step {step}" for step in (2, 4)]
    first = told[0]["commit"]
    assert {name for name in files_of(hub_api, repository, revision=first) if "/" not in name} == adapter
    assert files_of(hub_api, repository) >= {*adapter, "README.md", *(f"last-checkpoint/{name}" for name in STATE)}
    pulled = Path(hub_api.snapshot_download(repository, revision=first, local_dir=tmp_path / "pulled"))
    assert json.loads((pulled / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny"
    assert json.loads((pulled / "pgml.json").read_text())["base"]["name"] == "tiny"
    assert load_file(pulled / "adapter_model.safetensors")


def test_sigterm_ends_the_push_too(job, push, settings, hub):
    hub.disturb(path="/preupload/", delay=30, times=None)
    directory = job(push("end"))
    process = start_trainer(directory, hub=settings)
    ended = follow(process, directory, until="done")
    while not [one for one in hub.requests if one.path.endswith("/preupload/main")]:
        time.sleep(0.05)
    (errand,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    ended = follow(process, directory, run=ended)
    assert time.monotonic() - asked < 1.5
    assert ended.status == 1
    assert not Path(f"/proc/{errand}/fd").exists() or not list(Path(f"/proc/{errand}/fd").iterdir())


class Trainer:
    """What a trainer does for its pushes: checkpoints on disk, and frames, which are kept here."""

    def __init__(self, hub, push, directory):
        self.frames = []
        self.output = directory / "output"
        self.pushes = Pushes(self, hub, push, self.complete, directory / "pushes")

    def send(self, event, **header):
        self.frames.append({"event": event, **header})

    def notice(self, message):
        self.send("notice", message=message)

    def complete(self, folder):
        (folder / "pgml.json").write_text("{}")

    def save(self, step):
        folder = self.output / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        for name in ("config.json", "model.safetensors", "training_args.bin", *STATE):
            (folder / name).write_text(f"{step}")
        self._tell("on_save", step)

    def wait(self, step):
        while self.pushes._running and not self.pushes._running[0][1].done():
            time.sleep(0.01)
        self._tell("on_step_end", step)

    def finish(self, directory):
        directory.mkdir()
        (directory / "model.safetensors").write_text("the end")
        facts = {"project": "reviews", "task": "text-classification", "model_id": 7}
        self.pushes.finish(directory, facts)
        return self.frames[-1]

    def _tell(self, event, step):
        arguments = TrainingArguments(output_dir=str(self.output), use_cpu=True)
        getattr(self.pushes, event)(arguments, TrainerState(global_step=step), TrainerControl())

    @property
    def logged(self):
        return [frame["logs"] for frame in self.frames if frame["event"] == "log"]


@pytest.fixture
def trainer(settings, push, tmp_path):
    def make(strategy, hub=settings, **changes):
        return Trainer(hub, push(strategy, **changes), tmp_path)

    return make


def test_all_checkpoints_are_kept_on_the_hub_in_order(trainer, hub_api, repository):
    one = trainer("all_checkpoints", always_push=True)
    one.save(3)
    one.save(6)
    one.wait(7)
    one.wait(8)
    assert [(row["step"], row["push"]["step"]) for row in one.logged] == [(7, 3), (8, 6)]
    inside = {"config.json", "model.safetensors", *STATE}
    kept = {f"checkpoint-{step}/{name}" for step in (3, 6) for name in inside}
    assert files_of(hub_api, repository) == {"config.json", "model.safetensors", "pgml.json", *kept}


def test_a_checkpoint_is_left_out_while_another_is_on_its_way(trainer):
    one = trainer("every_save")
    for step in (1, 2, 3):
        one.save(step)
    one.wait(4)
    one.save(5)
    one.wait(6)
    assert [row["push"]["step"] for row in one.logged] == [1, 5]


def test_what_failed_is_told_and_the_next_push_has_it(trainer, hub, repository):
    hub.fail(403, "/preupload/")
    one = trainer("every_save")
    one.save(1)
    one.wait(2)
    reason = f'Hub refuses access to "{repository}"'
    assert one.frames == [
        {"event": "log", "logs": {"push": {"step": 1, "error": reason}, "step": 2}},
        {"event": "notice", "message": f"the checkpoint of step 1 was not pushed: {reason}"},
    ]
    one.save(3)
    one.wait(4)
    assert len(one.logged[-1]["push"]["commit"]) == 40


def test_the_end_pushes_nothing_before(trainer):
    one = trainer("end")
    one.save(1)
    assert not one.pushes._running


def test_a_push_that_is_on_its_way_at_the_end_is_waited_for(trainer, hub_api, repository, tmp_path):
    one = trainer("every_save")
    one.save(1)
    last = one.finish(tmp_path / "model")
    assert [frame["event"] for frame in one.frames] == ["log", "notice", "pushed"]
    assert [commit.commit_id for commit in hub_api.list_repo_commits(repository)][:2] == [
        last["hub"]["commit"],
        one.logged[0]["push"]["commit"],
    ]


def test_a_token_that_was_revoked_meanwhile_fails_the_push_with_what_to_do(trainer, hub, repository, tmp_path):
    hub.remove_token(SECRET)
    failed = trainer("end", private=False, revision="it's").finish(tmp_path / "model")
    assert (failed["event"], failed["repo_id"]) == ("push_failed", repository)
    assert (failed["error"]["sqlstate"], failed["error"]["message"]) == (
        "42501",
        "Hub does not accept the access token",
    )
    statement = f"SELECT pgml.push_to_hub(7, '{repository}', private => false, revision => 'it''s');"
    assert failed["error"]["hint"].endswith(f"Push the model with: {statement}")


def test_without_a_token_only_the_end_is_told(trainer, tmp_path):
    one = trainer("every_save", None)
    one.save(1)
    failed = one.finish(tmp_path / "model")
    assert [frame["event"] for frame in one.frames] == ["push_failed"]
    assert failed["error"]["message"] == "cannot push to the Hub: the access token did not reach the job"
