"""What several kinds of tests need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants
from tests import server
from tests.hub.running import running_hub
from tests.hub.stand_ins import fill

collect_ignore = ["docker"]  # make docker-test names it, after it has built the image that it tests
REAL = ("all-MiniLM-L6-v2", "SmolLM2-135M-Instruct")
ASSETS = Path(__file__).parent / "assets"
LEFT_OUT = pytest.StashKey[Counter[str]]()


def pytest_configure(config):
    config.addinivalue_line("markers", "private_cluster(reason): needs more of its server than connections")


def pytest_collection_modifyitems(config, items):
    """With PGML_TEST_DSN, leave out what would not test that server, and say why."""
    left_out = {item: reason for item in items if (reason := server.why_not(item))} if server.DSN else {}
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=list(left_out))
    config.stash[LEFT_OUT] = Counter(left_out.values())


def pytest_report_collectionfinish(config):
    return [f"not run at PGML_TEST_DSN: {number} tests: {reason}" for reason, number in config.stash[LEFT_OUT].items()]


@pytest.fixture(scope="session")
def model_directory() -> Iterator[Path]:
    """Tiny models and two real ones, where the OS user of PostgreSQL can read them."""
    if server.MODELS:
        yield Path(server.MODELS)
        return
    home = Path(tempfile.mkdtemp(prefix="pgml-models-", dir="/tmp"))
    make_models(home)
    yield home
    shutil.rmtree(home)


def make_models(home: Path) -> None:
    subprocess.run([sys.executable, ASSETS / "make_models.py", home], check=True, capture_output=True)
    for name in REAL:
        shutil.copytree(Path(os.environ["PGML_MODELS"]) / name, home / name)
    for path in [home, *home.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


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
