"""The trainer's way out: frames on the pipe that standard output was, and the signal that asks it to stop.

Both are here because a frame must never be cut in two by the exception that a signal raises.
Knows nothing of training.
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Any

from pgml import __version__
from pgml.runtime.errors import QUERY_CANCELED, RuntimeFault
from pgml.runtime.frames import write_frame

PROTOCOL = 1
SECONDS_BETWEEN_PROGRESS = 1.0


class Stopped(BaseException):
    """SIGTERM came. Not an Exception, so that no library takes it for a failure of its own and goes on."""

    def as_fault(self) -> RuntimeFault:
        """What the job's row will say."""
        return RuntimeFault("canceling tuning because it was asked to stop", sqlstate=QUERY_CANCELED)


class Channel:
    """Standard output, kept for frames: whatever else is printed goes to standard error from now on."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self._writing = False
        self._asked_to_stop = False
        self._last_progress = -SECONDS_BETWEEN_PROGRESS
        signal.signal(signal.SIGTERM, self._on_sigterm)
        self._send({"hello": "pgml", "protocol": PROTOCOL, "version": __version__, "pid": os.getpid()})

    def check(self) -> None:
        """Stop here if asked to: for an exception that was lost, as one raised in a destructor is."""
        if self._asked_to_stop:
            raise Stopped

    def notice(self, message: str) -> None:
        """Say what is happening."""
        self.send("notice", message=message)

    def progress(self, step: int, max_steps: int) -> None:
        """Say how far it is; at most once a second."""
        now = time.monotonic()
        if now - self._last_progress >= SECONDS_BETWEEN_PROGRESS:
            self._last_progress = now
            self.send("progress", step=step, max_steps=max_steps)

    def send(self, event: str, payload: bytes = b"", **header: Any) -> None:
        """Send one event."""
        self._send({"event": event, **header}, payload)
        self.check()

    def send_error(self, fault: RuntimeFault) -> None:
        """Send the last frame of a failed job; nothing can stop it any more."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._send({"event": "error", **fault.as_frame()})

    def _send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        self._writing = True
        try:
            write_frame(self._stream, header, payload)
        finally:
            self._writing = False

    def _on_sigterm(self, _signal: int, _frame: FrameType | None) -> None:
        self._asked_to_stop = True
        if not self._writing:
            raise Stopped
