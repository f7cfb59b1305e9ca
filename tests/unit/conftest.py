"""Tiny models for the tests, made once a session by the script in tests/assets."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

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
