"""Environment variables that must be set before torch, transformers and datasets are imported. Imports none of them."""

from __future__ import annotations

import os

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


def share_processors() -> None:
    """Let threads that wait sleep soon, unless the administrator has chosen how they wait."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)


def prepare_environment(home: str) -> None:
    """Keep the libraries quiet and away from the network; `home` is for what they write where HF_HOME is not set."""
    os.environ.update(QUIET)
    os.environ.update(OFFLINE)
    os.environ.setdefault("HF_HOME", home)
