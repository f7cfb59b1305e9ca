"""Save a tuned model into a directory and send its files in parts. Knows nothing of how it was tuned."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pgml import __version__
from pgml.runtime.bases import weights_digest
from pgml.runtime.tuning import lora
from pgml.runtime.tuning.channel import Channel

PART_BYTES = 4 << 20


def save_model(directory: Path, model: Any, tokenizer: Any, about: dict[str, Any]) -> None:
    """Write weights, configuration, tokenizer and pgml.json."""
    directory.mkdir(exist_ok=True)
    model.save_pretrained(directory)
    complete_model(directory, tokenizer, about)


def complete_model(directory: Path, tokenizer: Any, about: dict[str, Any]) -> None:
    """Write what belongs to weights that are in the directory already."""
    tokenizer.save_pretrained(directory)
    _write_about(directory, about)


def save_adapter(directory: Path, model: Any, about: dict[str, Any], plan: dict[str, Any]) -> None:
    """Write what was added to the base model of a plan, and in pgml.json which one that was."""
    directory.mkdir(exist_ok=True)
    lora.save_adapter(model, directory, plan["base_name"], plan["base_revision"])
    complete_adapter(directory, about, plan)


def complete_adapter(directory: Path, about: dict[str, Any], plan: dict[str, Any]) -> None:
    """Write what belongs to an adapter that is in the directory already."""
    base = {"name": plan["base_name"], "revision": plan["base_revision"], "digest": weights_digest(plan["base"])}
    _write_about(directory, {**about, "base": base})


def _write_about(directory: Path, about: dict[str, Any]) -> None:
    (directory / "pgml.json").write_text(json.dumps({"format": 1, **about, "pgml_version": __version__}))


def send_files(channel: Channel, directory: Path) -> None:
    """Send each file below the directory, sorted by path; a part is never more than 4 MiB."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    for path in sorted(paths, key=lambda path: path.relative_to(directory).as_posix()):
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            header = {"path": path.relative_to(directory).as_posix(), "size": file.tell(), "sha256": sha256}
            file.seek(0)
            part = 0
            while (data := file.read(PART_BYTES)) or part == 0:
                channel.send("file", data, **header, part=part)
                part += 1
