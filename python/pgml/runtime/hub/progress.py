"""Progress of downloads, told by huggingface_hub to what it takes for a bar of tqdm. Knows nothing of who wants it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def reporting(report: Callable[[int], None]) -> type:
    """A class of bars that report the bytes of all bars together; bars that count anything else are silent."""
    lock = threading.Lock()
    done = 0

    class Bar:
        def __init__(
            self, *_: Any, total: int | None = None, initial: int = 0, unit: str = "it", **_options: Any
        ) -> None:
            self.total = total
            self.n = 0
            self._counts_bytes = unit == "B"
            self.update(initial)

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, more: float | None = 1) -> None:
            nonlocal done
            with lock:
                self.n += int(more or 0)
                if self._counts_bytes:
                    done += int(more or 0)
            if self._counts_bytes and more:
                report(done)

        def __getattr__(self, name: str) -> Callable[..., None]:
            return _nothing  # whatever else a bar can do

    return Bar


def _nothing(*_: Any, **_options: Any) -> None:
    pass
