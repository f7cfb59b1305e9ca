"""Check and identify directories that hold a model. Imports no library; knows nothing of loading and of tasks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED, INVALID_PARAMETER_VALUE, UNDEFINED_FILE, RuntimeFault

Fingerprint = tuple[tuple[str, int, int], ...]


def check_directory(path: str, name: str) -> None:
    """Refuse what cannot be loaded, or what may only be loaded by running code out of it."""
    directory = Path(path)
    if not directory.is_dir():
        raise RuntimeFault(f'model directory "{name}" does not exist', sqlstate=UNDEFINED_FILE)
    files = {entry.name for entry in os.scandir(directory)}
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


def fingerprint(path: str) -> Fingerprint:
    """Changes when a file of the directory is replaced, changed, added or removed."""
    stats = [(entry.name, entry.stat()) for entry in os.scandir(path) if entry.is_file()]
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats))


def weights_size(path: str) -> int:
    """Bytes of the weights on disk."""
    return sum(file.stat().st_size for file in Path(path).glob("*.safetensors"))


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
