"""What several kinds of tests need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants
from tests.hub.running import running_hub
from tests.hub.stand_ins import fill

REAL = ("all-MiniLM-L6-v2", "SmolLM2-135M-Instruct")
ASSETS = Path(__file__).parent / "assets"


@pytest.fixture(scope="session")
def model_directory() -> Iterator[Path]:
    """Tiny models and two real ones, where the OS user of PostgreSQL can read them."""
    home = Path(tempfile.mkdtemp(prefix="pgml-models-", dir="/tmp"))
    subprocess.run([sys.executable, ASSETS / "make_models.py", home], check=True, capture_output=True)
    for name in REAL:
        shutil.copytree(Path(os.environ["PGML_MODELS"]) / name, home / name)
    for path in [home, *home.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield home
    shutil.rmtree(home)


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
    shared_hub.forget()
    yield shared_hub
    shared_hub.heal()


@pytest.fixture
def hub_api(hub, monkeypatch):
    """A client of the Hub in this process, with a token of the user tester; `token=False` for an anonymous one."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    return HfApi(endpoint=hub.endpoint, token="hf_writer")
