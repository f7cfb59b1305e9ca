"""The local Hub as a command, and what it makes by itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from tests.hub.running import environment, running_hub
from tests.hub.stand_ins import NAMES, make

ROOT = Path(__file__).parents[2]


def run(*arguments, **options):
    command = [sys.executable, "-m", "tests.hub", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def test_it_tells_its_address_and_ends_with_sigterm(tmp_path):
    with run("--directory", tmp_path, "--empty") as hub:
        name, _, endpoint = hub.stdout.readline().strip().partition("=")
        assert name == "HF_ENDPOINT"
        assert HfApi(endpoint=endpoint, token="hf_writer").whoami()["name"] == "tester"
        with run("--directory", tmp_path, "--empty") as second:
            assert "another process uses" in second.stderr.read()
        assert second.returncode == 1
        with run("--directory", tmp_path / "other", "--empty", "--port", endpoint.rpartition(":")[2]) as third:
            assert "is taken" in third.stderr.read()
        hub.send_signal(signal.SIGTERM)
        assert f"export HF_ENDPOINT={endpoint}" in hub.stderr.read()
    assert hub.returncode == 0
    assert not (tmp_path / "control.json").exists()


def test_it_ends_with_whom_it_is_attached_to(tmp_path):
    with run("--directory", tmp_path, "--empty", "--attached", stdin=subprocess.PIPE) as hub:
        hub.stdout.readline()
        hub.stdin.close()
        assert hub.wait(10) == 0


def test_help_says_what_it_takes():
    with run("--help") as hub:
        text = hub.stdout.read()
    assert hub.returncode == 0
    assert all(option in text for option in ("--directory", "--port", "--empty", "--attached"))


def test_what_was_pushed_stays(tmp_path):
    with running_hub(tmp_path) as hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_writer")
        api.create_repo("tester/stays", private=True)
        commit = api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id="tester/stays").oid
        api.create_tag("tester/stays", tag="v1")
        before = api.model_info("tester/stays", files_metadata=True)
        with hub.down():
            assert hub.process is None
        api = HfApi(endpoint=hub.endpoint, token="hf_writer")
        assert api.model_info("tester/stays", revision="v1").sha == commit
        assert api.model_info("tester/stays", files_metadata=True) == before


def test_a_client_gets_an_environment_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_developer")
    with running_hub(tmp_path) as hub:
        variables = hub.environment(tmp_path / "home")
        assert variables["HF_ENDPOINT"] == hub.endpoint
        assert not {"HF_HUB_OFFLINE", "HF_TOKEN"} & variables.keys()
        assert variables["PATH"] == os.environ["PATH"]


def test_stand_ins_are_always_the_same(hub_with_stand_ins, tmp_path):
    names = ["stanfordnlp/imdb", "distilbert/distilbert-base-uncased", "meta-llama/Llama-2-7b-chat-hf"]
    make(tmp_path, names)
    heads = [
        {
            repository["name"]: repository["branches"]["main"]
            for repository in json.loads((directory / "hub.json").read_text())["repositories"]
        }
        for directory in (hub_with_stand_ins, tmp_path)
    ]
    assert set(heads[0]) == set(NAMES)
    assert len(heads[1]) == len(names)
    assert heads[1].items() <= heads[0].items()


@pytest.mark.parametrize("name", NAMES)
def test_stand_ins_are_small(hub_with_stand_ins, name):
    repositories = json.loads((hub_with_stand_ins / "hub.json").read_text())["repositories"]
    (repository,) = [one for one in repositories if one["name"] == name]
    files = repository["commits"][repository["branches"]["main"]]["files"]
    assert "README.md" in files
    assert sum(file["size"] for file in files.values()) < 400_000
