"""How the libraries read the directory of a model. Imports none of them."""

from __future__ import annotations

from typing import Any


def reading(*, remote_code: bool = False) -> dict[str, Any]:
    """For every `from_pretrained`: local files only, and their code is run only where an administrator trusts it."""
    return {"local_files_only": True, "trust_remote_code": remote_code}
