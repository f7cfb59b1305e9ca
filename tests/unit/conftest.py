"""Tiny models for the tests, made once a session by the script in tests/assets."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants
from tests.hub.running import running_hub
from tests.hub.stand_ins import fill

ASSETS = Path(__file__).parents[1] / "assets"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """The directory of a tiny model by its name; tests only read it."""
    spec = importlib.util.spec_from_file_location("make_models", ASSETS / "make_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    directory = tmp_path_factory.mktemp("models")

    def model(name):
        return directory / name if (directory / name).exists() else module.make_model(name, directory)

    return model


@pytest.fixture
def tiny_copy(tiny_model, tmp_path):
    """A copy of the tiny BERT, to be changed."""
    return Path(shutil.copytree(tiny_model("bert"), tmp_path / "copy"))


@pytest.fixture(scope="session")
def hub_with_stand_ins(tmp_path_factory):
    """The directory of a Hub with the stand-ins; to be copied."""
    directory = tmp_path_factory.mktemp("stand-ins") / "hub"
    fill(directory)
    return directory


@pytest.fixture(scope="session")
def shared_hub(hub_with_stand_ins, tmp_path_factory):
    directory = shutil.copytree(hub_with_stand_ins, tmp_path_factory.mktemp("hub") / "hub")
    with running_hub(Path(directory)) as hub:
        yield hub


@pytest.fixture
def hub(shared_hub):
    """A running Hub, healthy, that remembers no request. What tests push to it stays: they use names of their own."""
    shared_hub.heal()
    shared_hub.forget()
    return shared_hub


@pytest.fixture
def hub_api(hub, monkeypatch):
    """A client of the Hub in this process, with a token of the user tester; `token=False` for an anonymous one."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    return HfApi(endpoint=hub.endpoint, token="hf_writer")
