"""Find the checkpoint that `resume_from_checkpoint` of a request wants: a folder in the directory of its model.

Reads small files of it; knows no weights and no training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.mistakes import Mistakes, shown
from pgml.runtime.nearest import quoted_list
from pgml.runtime.serving.directories import read_json
from pgml.runtime.tuning.base_model import CAUSAL_TASKS
from pgml.runtime.tuning.resuming import checkpoints
from pgml.runtime.tuning.resuming.checkpoints import RECORD, STATE

KEY = "resume_from_checkpoint"
WHERE = f'"{KEY}" in training_args'
LAST = "last-checkpoint"
OFF = (None, False, "", "false")
OF_THE_HUB = ("hub_", "push_to_hub")


def wants_checkpoint(header: dict[str, Any]) -> bool:
    """Whether a request names one, right or wrong."""
    hyperparams = header.get("hyperparams")
    given = hyperparams.get("training_args") if isinstance(hyperparams, dict) else None
    return isinstance(given, dict) and given.get(KEY) not in OFF


def find_checkpoint(
    given: dict[str, Any], directory: str | None, task: str | None, mistakes: Mistakes, notices: list[str]
) -> tuple[Path | None, dict[str, Any]]:
    """What is wanted, and the given `training_args` with those it was made with where they say nothing.

    None if nothing is wanted, or it cannot be used.
    """
    value = given.get(KEY)
    given = {name: value for name, value in given.items() if name != KEY}
    if value in OFF or directory is None:
        return None, given
    there = sorted(path.name for path in Path(directory).glob("*checkpoint*") if _is_checkpoint(path))
    name = _newest(there) if value is True or value == "true" else value
    if not isinstance(name, str) or name not in there:
        hint = f"There {'are' if len(there) > 1 else 'is'}: {quoted_list(there)}." if there else _HOW
        what = "no checkpoint" if name is None else f"no checkpoint {shown(KEY, value)}"
        mistakes.add(f"{WHERE}: the model's directory holds {what}", hint=hint)
        return None, given
    path = Path(directory, name)
    try:
        return path, {**_examine(path, task, notices), **given, KEY: name}
    except RuntimeFault as fault:
        mistakes.add(f'{WHERE}: checkpoint "{name}" cannot be used: {fault.message}', hint=fault.hint)
        return None, given


_HOW = 'A repository on the Hub has one when it was pushed to with "hub_strategy": "checkpoint".'


def _is_checkpoint(path: Path) -> bool:
    return path.is_dir() and (path.name == LAST or path.name.removeprefix("checkpoint-").isdecimal())


def _newest(names: list[str]) -> str | None:
    return LAST if LAST in names else max(names, key=lambda name: checkpoints.step_of(Path(name)), default=None)


def _examine(path: Path, task: str | None, notices: list[str]) -> dict[str, Any]:
    """The arguments that a checkpoint was made with; a fault says why training cannot go on from it."""
    files = {file.name for file in path.iterdir()}
    lacking = sorted(set(STATE) - files)
    if not any(file.endswith(".safetensors") for file in files):
        lacking.append("weights in safetensors format")
    if lacking:
        raise RuntimeFault(f"it lacks {', '.join(lacking)}", sqlstate=INVALID_PARAMETER_VALUE)
    checkpoints.steps_done(path)
    if RECORD not in files:
        notices.append(f"checkpoint {path.name} is not of pgml: whether it was made of the same rows is not known")
        return {}
    found = checkpoints.read(path)
    if found is None:
        raise RuntimeFault("its files are not all there as they were written", sqlstate=INVALID_PARAMETER_VALUE)
    record = read_json(path / RECORD, path.name)
    if task is not None and (record.get("task") in CAUSAL_TASKS) != (task in CAUSAL_TASKS):
        raise RuntimeFault(f"it was made for {record.get('task')}", sqlstate=INVALID_PARAMETER_VALUE)
    former = record.get("training_args")
    former = former if isinstance(former, dict) else {}
    return {key: value for key, value in former.items() if not key.startswith(OF_THE_HUB) and key != KEY}
