"""Stored models to the Hub and models of the Hub to be stored, as a backend asks for it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from hub_requests import hub_object
from huggingface_hub import ModelCard
from serving import stored_model

from pgml.runtime.hub.names import default_name

CARD = {"project": "our reviews", "task": "text-classification", "model_id": 12, "base_model": "tiny", "lora": False}


@pytest.fixture
def settings(hub, tmp_path):
    return hub_object(hub, tmp_path / "hub", token="hf_writer")


@pytest.fixture
def ask(backend):
    """Sends a request, with the files that are asked for, and gives the answer and what was told before."""

    def ask(directory=None, **header):
        backend.send(header)
        notices = []
        while True:
            answer, _ = backend.read()
            if "notice" in answer:
                notices.append(answer["notice"])
            elif "need" in answer:
                backend.send_files(directory, header["model"])
            else:
                return answer, notices

    return ask


@pytest.fixture
def push(ask, settings):
    def push(directory, repo_id=None, **changes):
        header = {"repo_id": repo_id, "project": "our reviews", "private": True, "revision": None, "card": CARD}
        model = stored_model(directory)
        return ask(directory, op="push_to_hub", model=model, hub=settings, **{**header, **changes})

    return push


@pytest.fixture
def pull(ask, settings):
    def pull(name, revision=None):
        return ask(op="pull_from_hub", model={"kind": "hub", "name": name, "revision": revision, "hub": settings})[0]

    return pull


@pytest.fixture
def name(request):
    """The name of a repository that only this test uses."""
    return f"tester/{default_name(request.node.name)[:80]}"


def test_a_stored_model_is_pushed_with_its_card(push, hub, hub_api, tiny_model, tmp_path, settings):
    directory = tiny_model("bert-classifier")
    answer, _ = push(directory)
    info = hub_api.model_info("tester/our_reviews")
    url = f"{hub.endpoint}/tester/our_reviews"
    assert answer == {"ok": True, "repo_id": "tester/our_reviews", "url": url, "commit": info.sha, "private": True}
    pulled = Path(hub_api.snapshot_download("tester/our_reviews", local_dir=tmp_path / "pulled"))
    for path in directory.iterdir():
        assert (pulled / path.name).read_bytes() == path.read_bytes()
    assert '"model": "tester/our_reviews"' in ModelCard.load(pulled / "README.md").text
    assert not list(Path(settings["cache"]).glob("pushing-*"))
    assert push(directory)[0] == answer
    assert not list((tmp_path / "cache").rglob("README.md")), "what is stored stays as it is"


def test_what_is_pushed_is_pulled_as_it_was_stored(push, pull, tiny_model, name):
    directory = tiny_model("bert-classifier")
    commit = push(directory, name)[0]["commit"]
    answer = pull(name)
    assert (answer["ok"], answer["task"], answer["commit"]) == (True, "text-classification", commit)
    assert answer["base_model"] is None
    assert {file["path"] for file in answer["files"]} == {path.name for path in directory.iterdir()}
    for file in answer["files"]:
        data = Path(answer["path"], file["path"]).read_bytes()
        assert data == (directory / file["path"]).read_bytes()
        assert (file["size"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_a_push_that_is_refused_says_why_before_anything_is_asked_for(ask, tiny_model, hub, settings):
    model = stored_model(tiny_model("bert-classifier"))
    header = {"project": "x", "private": True, "card": CARD, "hub": {**settings, "push_token": "hf_reader"}}
    answer, _ = ask(op="push_to_hub", model=model, **header)
    assert answer["error"]["sqlstate"] == "42501"


def test_stumbles_are_told_to_the_user(push, hub, tiny_model, name):
    hub.fail(503, "/commit/main")
    answer, notices = push(tiny_model("bert-classifier"), name)
    assert answer["ok"]
    assert notices == ["Hub is out of order; trying again in 1 s"]


@pytest.fixture
def upload(hub_api, name, tmp_path):
    """Puts a changed model on the Hub."""

    def upload(directory, **files):
        folder = tmp_path / "folder"
        shutil.copytree(directory, folder)
        for path, content in files.items():
            (folder / path.replace("__", ".")).write_text(content)
        hub_api.create_repo(name)
        hub_api.upload_folder(repo_id=name, folder_path=folder)

    return upload


@pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")
class TestModelsOfOthers:
    """Models without pgml.json."""

    @pytest.mark.parametrize(
        ("model", "task"),
        [("llama", "text-generation"), ("llama-chat", "conversation"), ("bert-masked", "fill-mask")],
    )
    def test_the_task_is_told_from_the_model(self, upload, pull, tiny_model, name, model, task):
        upload(tiny_model(model), README__md="# Theirs", notes__py="print()")
        answer = pull(name)
        assert answer["task"] == task
        assert {Path(file["path"]).suffix for file in answer["files"]} <= {".json", ".safetensors", ".jinja", ".txt"}

    def test_an_adapter_names_its_base(self, upload, pull, tmp_path, name):
        folder = tmp_path / "adapter"
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
        config = {"task_type": "CAUSAL_LM", "base_model_name_or_path": "org/base"}
        upload(folder, adapter_config__json=json.dumps(config))
        answer = pull(name)
        assert (answer["task"], answer["base_model"]) == ("text-generation", "org/base")

    def test_a_model_for_no_task_that_is_served_is_refused(self, upload, pull, tiny_model, name):
        upload(tiny_model("bert"), config__json='{"model_type": "bert", "architectures": ["BertForImages"]}')
        error = pull(name)["error"]
        assert error["sqlstate"] == "0A000"
        assert error["message"] == f'model "{name}" is for no task that can be told'
        assert "text-classification" in error["hint"]

    def test_a_task_of_a_newer_pgml_is_refused(self, upload, pull, tiny_model, name):
        upload(tiny_model("bert"), pgml__json='{"format": 1, "task": "image-tuning"}')
        error = pull(name)["error"]
        assert (error["sqlstate"], error["message"]) == ("22023", 'unknown task "image-tuning"')
