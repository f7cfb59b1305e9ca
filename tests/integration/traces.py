"""Search files for a secret, in all the ways in which programs write texts down. Knows nothing of who wrote them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote


def forms(secret: str) -> set[bytes]:
    """In the clear, hexadecimal, quoted for URLs, and in base64 wherever it stands in a longer text."""
    plain = secret.encode()
    found = {plain, plain.hex().encode(), quote(secret).encode(), quote(secret, safe="").encode()}
    for shift, incomplete in enumerate((0, 2, 3)):
        whole = (shift + len(plain)) * 8 // 6
        encoded = base64.b64encode(bytes(shift) + plain)[incomplete:whole]
        found |= {encoded, encoded.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def files_with(secrets: list[str], *directories: Path) -> list[Path]:
    """The files below the directories that hold one of the secrets in one of its forms."""
    wanted = [form for secret in secrets for form in forms(secret)]
    return [path for path in _files(directories) if _holds(path, wanted)]


def _files(directories: tuple[Path, ...]) -> Iterator[Path]:
    return (path for top in directories for path in ([top] if top.is_file() else top.rglob("*")) if path.is_file())


def _holds(path: Path, wanted: list[bytes]) -> bool:
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # a running server removes files
        return False
    return any(form in content for form in wanted)
