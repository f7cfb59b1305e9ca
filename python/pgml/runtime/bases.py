"""Identify the base model that an adapter was tuned on. Imports no library; knows nothing of adapters."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pgml.runtime.serving.directories import Fingerprint, fingerprint

_digests: dict[str, tuple[Fingerprint, str]] = {}


def weights_digest(directory: str) -> str:
    """The sha256 of the lines `name NUL size NUL sha256 LF`, sorted by name, of config.json and all *.safetensors.

    Reading gigabytes takes seconds, so the digest is kept as long as no file of the directory changes.
    """
    now = fingerprint(directory)
    known = _digests.get(directory)
    if known is None or known[0] != now:
        known = _digests[directory] = (now, _digest(Path(directory)))
    return known[1]


def _digest(directory: Path) -> str:
    sha256 = hashlib.sha256()
    for path in sorted([directory / "config.json", *directory.glob("*.safetensors")], key=lambda path: path.name):
        with path.open("rb") as file:
            contents = hashlib.file_digest(file, "sha256").hexdigest()
            sha256.update(f"{path.name}\0{file.tell()}\0{contents}\n".encode())
    return sha256.hexdigest()
