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
