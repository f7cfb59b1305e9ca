"""Check and identify directories that hold a model. Imports no library; knows nothing of loading and of tasks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import NoneType
from typing import Any

from pgml.runtime.errors import (
    FEATURE_NOT_SUPPORTED,
    INSUFFICIENT_PRIVILEGE,
    INVALID_PARAMETER_VALUE,
    UNDEFINED_FILE,
    RuntimeFault,
)
from pgml.runtime.tasks import task_of_architecture

Fingerprint = tuple[tuple[str, int, int], ...]

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_TASKS = {"CAUSAL_LM": "text-generation", "SEQ_CLS": "text-classification"}
"""What an adapter is for that pgml did not tune, by its task_type."""


def check_directory(path: str, name: str) -> None:
    """Refuse what cannot be loaded, or what may only be loaded by running code out of it."""
    directory = Path(path)
    if not directory.is_dir():
        raise RuntimeFault(f'model directory "{name}" does not exist', sqlstate=UNDEFINED_FILE)
    files = {entry.name for entry in os.scandir(directory)}
    check_files(files, name)
    if closed := sorted(file for file in files if not os.access(directory / file, os.R_OK)):
        raise RuntimeFault(
            f'file "{closed[0]}" of model "{name}" cannot be read',
            sqlstate=INSUFFICIENT_PRIVILEGE,
            detail="The operating system user of the server has no permission.",
            hint=f"Run chmod -R a+rX '{path}' as the owner of the directory.",
        )


def check_files(files: set[str], name: str) -> None:
    """As above, by the names of the files."""
    if ADAPTER_CONFIG in files and "config.json" not in files:
        _check_adapter(files, name)
        return
    if "config.json" not in files:
        raise RuntimeFault(
            f'"{name}" is not a transformers model directory',
            sqlstate=INVALID_PARAMETER_VALUE,
            detail="It holds no config.json.",
        )
    if any(file.endswith(".safetensors") for file in files):
        return
    pickles = sorted(file for file in files if file.endswith((".bin", ".pt", ".pth", ".ckpt")))
    if pickles:
        raise RuntimeFault(
            f'model "{name}" has its weights only as a pickle file, which is not read',
            sqlstate=FEATURE_NOT_SUPPORTED,
            detail=f'Reading "{pickles[0]}" could run any code that is in it.',
            hint="Load the model with transformers where you trust it, and save it again with save_pretrained,"
            " which writes model.safetensors.",
        )
    raise RuntimeFault(
        f'model directory "{name}" holds no weights', sqlstate=UNDEFINED_FILE, detail="It has no *.safetensors file."
    )


def _check_adapter(files: set[str], name: str) -> None:
    if ADAPTER_WEIGHTS not in files:
        raise RuntimeFault(
            f'adapter "{name}" holds no weights that can be read',
            sqlstate=UNDEFINED_FILE,
            detail=f"It has no {ADAPTER_WEIGHTS}.",
        )


def is_adapter(path: str) -> bool:
    """Whether a checked directory holds an adapter, which needs a base model."""
    return not Path(path, "config.json").exists()


def fingerprint(path: str) -> Fingerprint:
    """Changes when a file of the directory is replaced, changed, added or removed."""
    stats = [(entry.name, entry.stat()) for entry in os.scandir(path) if entry.is_file()]
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats))


def weights_size(path: str) -> int:
    """Bytes of the weights on disk."""
    return sum(file.stat().st_size for file in Path(path).glob("*.safetensors"))


def own_task(path: str, name: str, inputs: list[Any]) -> str | None:
    """The task that a model was made for; a decoder continues texts and answers messages.

    Weights of a sentence-transformers model may be those of a model that was made for something else before.
    """
    task = pgml_settings(path, name).get("task")
    if task is None and is_adapter(path):
        kind = str(read_json(Path(path, ADAPTER_CONFIG), name).get("task_type"))
        task = ADAPTER_TASKS.get(kind)
    elif task is None:
        task = task_of_architecture(architectures(path, name))
        if task in (None, "fill-mask", "text-generation") and Path(path, "modules.json").exists():
            task = "embedding"
    is_text = all(isinstance(value, (str, NoneType)) for value in inputs)
    return "conversation" if task == "text-generation" and not is_text else task


def pgml_settings(path: str, name: str) -> dict[str, Any]:
    """What pgml wrote into a model that it tuned; empty for any other."""
    file = Path(path, "pgml.json")
    return read_json(file, name) if file.exists() else {}


def architectures(path: str, name: str) -> list[str]:
    """The model classes that config.json names."""
    config = read_json(Path(path, "config.json"), name)
    return [str(architecture) for architecture in config.get("architectures") or []]


def read_json(file: Path, name: str) -> dict[str, Any]:
    """A JSON file of a model directory."""
    try:
        value = json.loads(file.read_text())
    except ValueError as error:
        raise RuntimeFault(
            f'file "{file.name}" of model "{name}" is not valid JSON',
            sqlstate=INVALID_PARAMETER_VALUE,
            detail=f"{error}.",
        ) from error
    return value if isinstance(value, dict) else {}
