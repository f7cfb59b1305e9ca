"""PostgresML's own clients, as their users have them from PyPI, chat with our server."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.integration.sdk import url_of

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("outside_client.py")
MODEL = "meta-llama/Meta-Llama-3-8B-Instruct"  # one of the few names that the first of them lets through


@pytest.fixture(scope="module")
def model(model_directory):
    """A tiny chat model below pgml.model_directories, under the name that these clients ask for."""
    directory = model_directory / MODEL
    shutil.copytree(model_directory / "llama-chat", directory)
    directory.parent.chmod(0o755)
    yield MODEL
    shutil.rmtree(directory.parent)


def run(command):
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env={})


@pytest.fixture(scope="module", params=["pgml", "korvus"])
def said(request, model, shared):
    """What a program with one of these clients got."""
    subprocess.run([ROOT / "tools" / "setup-clients"], check=True)
    python = ROOT / ".cache" / "clients" / request.param / "bin" / "python"
    command = [python, "-P", PROGRAM, request.param, url_of(shared), model]
    done = run(command)
    if "pool timed out" in done.stderr:
        done = run(command)  # their pool gives up a connection that is slow to come; ours has no part in that
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_whole_answer(said):
    for method in ("sync", "async"):
        assert said[method]["object"] == "chat.completion"
        assert said[method]["model"] == MODEL
        (choice,) = said[method]["choices"]
        assert choice["message"]["role"] == "assistant"
        assert choice["message"]["content"]
    assert said["sync"]["choices"] == said["async"]["choices"]


def test_streams_give_the_same_in_pieces(said):
    whole = said["sync"]["choices"][0]["message"]["content"]
    for method in ("stream", "stream_async"):
        chunks = said[method]
        assert len(chunks) > 1
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        assert all(len(chunk["choices"]) == 1 for chunk in chunks)
        assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == whole


def test_a_model_object_as_in_their_guide(said):
    assert said["described"]["choices"][0]["message"]["content"]


def test_an_error_says_what_is_wrong(said):
    assert "no-such-model" in said["failure"]
