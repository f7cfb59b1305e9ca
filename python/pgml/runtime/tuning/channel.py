"""The way out of a training: frames on a stream, and what ends the training from outside.

Both are here because the end may come wherever the training is, but never in the middle of a frame.
Knows nothing of training.
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Any, NoReturn

from pgml.runtime.errors import QUERY_CANCELED, RuntimeFault
from pgml.runtime.frames import Writer, hello, write_frame

FAILED = 1
SECONDS_BETWEEN_PROGRESS = 1.0


class Channel:
    """Events of a training as frames on a stream."""

    def __init__(self, stream: Writer) -> None:
        self._stream = stream
        self._last_progress = -SECONDS_BETWEEN_PROGRESS
        self._send(hello())

    def notice(self, message: str) -> None:
        """Say what is happening."""
        self.send("notice", message=message)

    def may_end(self) -> None:
        """A moment at which the training can be ended from outside, where that does not come by itself."""

    def progress(self, step: int, max_steps: int) -> None:
        """Say how far it is; at most once a second."""
        self.may_end()
        now = time.monotonic()
        if now - self._last_progress >= SECONDS_BETWEEN_PROGRESS:
            self._last_progress = now
            self.send("progress", step=step, max_steps=max_steps)

    def send(self, event: str, payload: bytes = b"", **header: Any) -> None:
        """Send one event."""
        self._send({"event": event, **header}, payload)

    def send_error(self, fault: RuntimeFault) -> None:
        """Send the last frame of a failed job."""
        self._send({"event": "error", **fault.as_frame()})

    def _send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        write_frame(self._stream, header, payload)


class StandardOutput(Channel):
    """The channel of a process: its standard output, kept for frames; whatever else is printed goes to standard error.

    SIGTERM asks the process to stop.
    """

    def __init__(self) -> None:
        stream = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self._pid = os.getpid()
        self._writing = False
        self._asked_to_stop = False
        signal.signal(signal.SIGTERM, self._on_sigterm)
        super().__init__(stream)

    def _send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        self._writing = True
        super()._send(header, payload)
        self._writing = False
        if self._asked_to_stop:
            self._stop()

    def _on_sigterm(self, _signal: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            os._exit(FAILED)  # a worker that loads data has inherited this, and has nothing to say
        self._asked_to_stop = True
        if not self._writing:
            self._stop()

    def _stop(self) -> NoReturn:
        # Not by an exception: a library may catch it, and torch takes seconds to unload. Nothing needs cleaning up.
        fault = RuntimeFault("canceling tuning because it was asked to stop", sqlstate=QUERY_CANCELED)
        write_frame(self._stream, {"event": "error", **fault.as_frame()})
        os._exit(FAILED)
