"""Checkpoints of a job on disk: which of them are whole, which is the newest, and what is noted in each of them.

Knows files; knows nothing of training and of the libraries that write them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.serving.store import link_file

RECORD = "pgml_checkpoint.json"
"""Written last: a checkpoint that was cut short has none, or one that names files which are not as they were."""
STATE = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
"""What training needs to go on, beside the weights."""
SAFE = (*STATE, "scaler.pt")
"""What is read of another's checkpoint beside JSON and safetensors: as numbers, whatever else these files hold."""


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint and what is noted in it."""

    path: Path
    record: dict[str, Any]

    @property
    def step(self) -> int:
        """After how many steps it was made."""
        return step_of(self.path)

    @property
    def can_go_on(self) -> bool:
        """Whether it has more than weights."""
        return all(name in self.record["files"] for name in STATE)


def step_of(path: Path) -> int:
    """The number in the name of a checkpoint's folder."""
    return int(path.name.rpartition("-")[2])


def folder_of(output: Path, step: int) -> Path:
    """Where Trainer puts the checkpoint of a step."""
    return output / f"checkpoint-{step}"


def seal(path: Path, notes: dict[str, Any]) -> None:
    """Note that a checkpoint is whole: its files with their sizes, and whatever else."""
    files = {file.name: file.stat().st_size for file in sorted(path.iterdir()) if file.name != RECORD}
    temporary = path / f"{RECORD}.new"
    temporary.write_text(json.dumps({**notes, "files": files}))
    temporary.replace(path / RECORD)


def unseal(path: Path) -> None:
    """Before a folder is written to again: it is not whole from now on."""
    (path / RECORD).unlink(missing_ok=True)


def read(path: Path) -> Checkpoint | None:
    """The checkpoint of a folder, if all that was noted is there."""
    try:
        record = json.loads((path / RECORD).read_text())
        is_whole = all((path / name).stat().st_size == size for name, size in record["files"].items())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return Checkpoint(path, record) if is_whole else None


def steps_done(path: Path) -> int:
    """After how many steps a checkpoint was made, whatever its folder is called."""
    try:
        steps = json.loads((path / "trainer_state.json").read_text())["global_step"]
    except (OSError, ValueError, TypeError, KeyError):
        steps = None
    if not isinstance(steps, int) or steps < 1:
        raise RuntimeFault("its trainer_state.json does not tell its step", sqlstate=INVALID_PARAMETER_VALUE)
    return steps


def adopt(source: Path, output: Path) -> Checkpoint:
    """Put a checkpoint of another job among those of this one, and the best one so far if that is beside it.

    Nothing is taken that could hold code. Files are linked: training writes to none of them again.
    """
    step = steps_done(source)
    record = read(source)
    found = _link(source, folder_of(output, step), record.record if record else {})
    best = json.loads((source / "trainer_state.json").read_text()).get("best_global_step")
    if isinstance(best, int) and best != step and any((beside := folder_of(source.parent, best)).glob("*.safetensors")):
        _link(beside, folder_of(output, best), {})
    return found


def _link(source: Path, target: Path, notes: dict[str, Any]) -> Checkpoint:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in source.iterdir():
        if (file.name in SAFE or file.suffix in (".json", ".safetensors")) and file.name != RECORD:
            link_file(file, target / file.name)
    seal(target, notes)
    found = read(target)
    assert found is not None
    return found


def newest(output: Path) -> Checkpoint | None:
    """The whole checkpoint after the most steps."""
    return max((found for path in _folders(output) if (found := read(path))), key=lambda c: c.step, default=None)


def discard_rest(output: Path, kept: Checkpoint | None) -> None:
    """Remove what would be in the way when training goes on: what is not whole, and all of it when it starts anew."""
    for path in _folders(output):
        if kept is None or step_of(path) > kept.step or read(path) is None:
            shutil.rmtree(path)


def _folders(output: Path) -> Iterator[Path]:
    return (path for path in output.glob("checkpoint-*") if path.is_dir() and path.name[11:].isdecimal())
