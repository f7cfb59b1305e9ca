"""What the doctor finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OK: Literal["ok"] = "ok"
WARNING: Literal["warning"] = "warning"
PROBLEM: Literal["problem"] = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `mend` says what to do where it is not as it should be."""

    state: Literal["ok", "warning", "problem"]
    what: str
    mend: str | None = None
