"""What requests say of a Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.hub.running import RunningHub


def hub_object(hub: RunningHub, cache: Path, push_token: str | None = "hf_writer", **changes: Any) -> dict[str, Any]:
    """The "hub" of a request."""
    settings = {"endpoint": hub.endpoint, "offline": False, "cache": str(cache), "token": None, "role": "10"}
    return {**settings, "push_token": push_token, **changes}
