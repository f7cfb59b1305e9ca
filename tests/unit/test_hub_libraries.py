"""The libraries datasets, transformers and peft with the local Hub, in programs of users."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def saw(hub, tmp_path):
    """What a program says it saw."""

    def run(program):
        environment = hub.environment(tmp_path / "home", token="hf_writer")
        command = [sys.executable, HERE / program]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_data_sets(saw, hub):
    assert saw("hub_client_datasets.py") == {
        "reviews": {"train": 400, "test": 200, "unsupervised": 400},
        "features": {"text": "Value('string')", "label": "ClassLabel(names=['neg', 'pos'])"},
        "unlabelled": [-1],
        "streamed": True,
        "news": [["input", "output", "instruction"], 9],
        "splits": ["train", "test"],
        "private": True,
        "anonymous": "not found",
    }
    assert {one.token for one in hub.requests} == {"writer", None}
    assert 206 in {one.status for one in hub.requests if one.range}


def test_models(saw, hub):
    assert saw("hub_client_models.py") == {
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
    assert not [one for one in hub.requests if one.status is None or one.status >= 500]
