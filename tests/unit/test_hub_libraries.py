"""The libraries datasets, transformers and peft with the local Hub, in programs of users."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def programs(shared_hub, tmp_path_factory):
    """The programs, running side by side."""
    shared_hub.heal()
    shared_hub.forget()
    with contextlib.ExitStack() as stack:
        started = {}
        for name in ("datasets", "models"):
            environment = shared_hub.environment(tmp_path_factory.mktemp("home"), token="hf_writer")
            command = [sys.executable, HERE / f"hub_client_{name}.py"]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            started[name] = stack.enter_context(subprocess.Popen(command, env=environment, text=True, **pipes))
        yield started


@pytest.fixture
def saw(programs):
    """What a program says it saw."""

    def wait(name):
        output, errors = programs[name].communicate()
        assert programs[name].returncode == 0, errors[-4000:]
        return json.loads(output.splitlines()[-1])

    return wait


def test_data_sets(saw, shared_hub):
    assert saw("datasets") == {
        "reviews": {"train": 400, "test": 200, "unsupervised": 400},
        "features": {"text": "Value('string')", "label": "ClassLabel(names=['neg', 'pos'])"},
        "unlabelled": [-1],
        "streamed": True,
        "news": [["input", "output", "instruction"], 9],
        "splits": ["train", "test"],
        "private": True,
        "anonymous": "not found",
    }
    assert {one.token for one in shared_hub.requests} == {"writer", None}
    assert 206 in {one.status for one in shared_hub.requests if one.range}


def test_models(saw, shared_hub):
    assert saw("models") == {
        "files": [
            ".gitattributes",
            "README.md",
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        ],
        "v1": True,
        "main": False,
        "label": "positive",
        "base": "meta-llama/Llama-2-7b-chat-hf",
        "prompt": "<s>[INST] <<SYS>>\nBe short.\n<</SYS>>\n\nWho? [/INST]",
        "adapter": [".gitattributes", "README.md", "adapter_config.json", "adapter_model.safetensors"],
    }
    assert not [one for one in shared_hub.requests if one.status is None or one.status >= 500]
