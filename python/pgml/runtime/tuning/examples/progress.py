"""How far the rows of a job are tokenised: said from time to time, as many rows take minutes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgml.runtime.tuning.channel import Channel

SECONDS_BETWEEN_NOTICES = 10.0


class Tokenising:
    """Counts rows as they are tokenised. Between two batches the training may be ended from outside."""

    def __init__(self, channel: Channel, rows: int) -> None:
        self._channel = channel
        self._rows = rows
        self._done = 0
        self._told = time.monotonic()

    def __call__(self, rows: int) -> None:
        """So many more are done."""
        self._channel.may_end()
        self._done += rows
        now = time.monotonic()
        if now - self._told >= SECONDS_BETWEEN_NOTICES and self._done < self._rows:
            self._told = now
            self._channel.notice(f"tokenised {self._done} of {self._rows} rows")
