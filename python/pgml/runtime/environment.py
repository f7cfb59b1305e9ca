"""What comes before torch and its like are imported: environment variables, and what to say when one is missing.

Imports none of them.
"""

from __future__ import annotations

import os
import sys

QUIET = {
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
SPIN_COUNT = "2000"
"""About 10 µs. By default OpenMP threads that wait for each other spin for longer than a step takes, and beside one
busy backend a prediction then takes several times as long."""

MISSING_PACKAGE = 3
"""Exit status of a process that lacks a package."""


def install_hint() -> str:
    """What to do about a missing package. Not pip: the package pgml of the index is PostgresML's client."""
    return f"Install the runtime into it again, from the sources of pgml: make install VENV={sys.prefix}"


def share_processors() -> None:
    """Let threads that wait sleep soon, unless the administrator has chosen how they wait."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)


def prepare_training() -> None:
    """Let two trainings with one seed give the same weights on a GPU too, and texts be tokenized by all processors."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


def prepare_environment(home: str) -> None:
    """Keep the libraries quiet and away from the network; `home` is for what they write where HF_HOME is not set."""
    os.environ.update(QUIET)
    os.environ.update(OFFLINE)
    os.environ.setdefault("HF_HOME", home)
