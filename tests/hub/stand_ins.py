"""Make the repositories that users' scripts name, small and always the same: made rows, random weights.

The real ones may not be shipped with this project. These have their columns, splits, labels and kinds of model. They
are made once for a directory, by a process of its own: `python -m tests.hub.stand_ins DIR [NAME …]`, which needs torch.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.hub.store import Store

ROOT = Path(__file__).parents[2]
DATE = "2026-01-01T00:00:00.000Z"  # makes the names of the commits the same everywhere
DATA, MODELS = "tests.hub.stand_in_data", "tests.hub.stand_in_models"
# Kind and name of the repository; module and function that put its files into a folder.
MAKERS = {
    ("datasets", "stanfordnlp/imdb"): (DATA, "imdb"),
    ("datasets", "FinGPT/fingpt-sentiment-train"): (DATA, "fingpt_sentiment"),
    ("models", "distilbert/distilbert-base-uncased"): (MODELS, "distilbert"),
    ("models", "santiadavani/imdb_review_sentiement"): (MODELS, "review_classifier"),
    ("models", "meta-llama/Llama-2-7b-chat-hf"): (MODELS, "llama_chat"),
    ("models", "santiadavani/fingpt-llama2-7b-chat"): (MODELS, "llama_chat_adapter"),
}
# What was there before names had owners has moved, here as on the Hub; the old names lead on.
OLD_NAMES = {"imdb": "stanfordnlp/imdb", "distilbert-base-uncased": "distilbert/distilbert-base-uncased"}
NAMES = tuple(name for _, name in MAKERS)


def fill(directory: Path, names: Iterable[str] = NAMES) -> None:
    """Make the stand-ins that the directory of a Hub lacks. The Hub must not be running."""
    wanted = {OLD_NAMES.get(name, name) for name in names}
    with Store(directory) as store:
        missing = [name for kind, name in MAKERS if name in wanted and not store.get(kind, name)]
    if not missing:
        return
    command = [sys.executable, "-m", __name__, str(directory.resolve()), *missing]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | offline, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"could not make {', '.join(missing)}:\n{done.stderr[-4000:]}")


def make(directory: Path, names: Iterable[str]) -> None:
    """Make them here and now."""
    wanted = set(names)
    with Store(directory) as store:
        for (kind, name), (module, function) in MAKERS.items():
            if name not in wanted:
                continue
            with tempfile.TemporaryDirectory() as folder:
                getattr(importlib.import_module(module), function)(Path(folder))
                repository = store.create(kind, name, date=DATE)
                for old in (old for old, new in OLD_NAMES.items() if new == name):
                    store.moved[kind, old] = name
                store.add_folder(repository, Path(folder), "Add a stand-in", DATE)


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2:] or NAMES)
