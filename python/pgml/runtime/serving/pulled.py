"""What of a model's directory is stored when it is pulled from the Hub, and for which task. Knows no Hub."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED, Cancelled, RuntimeFault
from pgml.runtime.nearest import quoted_list
from pgml.runtime.serving import bases
from pgml.runtime.serving.directories import is_adapter, own_task, pgml_settings, read_json
from pgml.runtime.serving.models import ModelDirectory
from pgml.runtime.tasks import TASKS, parse_task

STORED = (".jinja", ".json", ".model", ".safetensors", ".txt")


def describe(directory: ModelDirectory, cancelled: Callable[[], bool]) -> dict[str, Any]:
    """The answer to `pull_from_hub`."""
    return {
        "path": directory.path,
        "task": _task(directory),
        "base_model": bases.base_of(directory).name if is_adapter(directory.path) else None,
        "commit": directory.revision,
        "files": _files(Path(directory.path), cancelled),
    }


def _files(directory: Path, cancelled: Callable[[], bool]) -> list[dict[str, Any]]:
    """The files of the model, but for those in folders: checkpoints, and the same model in other formats."""
    files = []
    for path in sorted(path for path in directory.iterdir() if path.suffix in STORED and path.is_file()):
        if cancelled():
            raise Cancelled
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            files.append({"path": path.name, "size": file.tell(), "sha256": sha256})
    return files


def _task(directory: ModelDirectory) -> str:
    path, name = directory.path, directory.name
    task = own_task(path, name, [])
    if task is None:
        raise RuntimeFault(
            f'model "{name}" is for no task that can be told',
            sqlstate=FEATURE_NOT_SUPPORTED,
            detail="Neither pgml.json nor the architecture in config.json or the task_type of an adapter says one.",
            hint=f"Tasks are: {quoted_list(TASKS)}.",
        )
    spec, _ = parse_task({"task": task}, None)
    if spec.name == "text-generation" and "task" not in pgml_settings(path, name) and _answers_messages(path, name):
        return "conversation"
    return spec.name


def _answers_messages(path: str, name: str) -> bool:
    """Whether a language model has a chat template."""
    config = Path(path, "tokenizer_config.json")
    return Path(path, "chat_template.jinja").exists() or (
        config.exists() and bool(read_json(config, name).get("chat_template"))
    )
