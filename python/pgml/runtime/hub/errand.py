"""One piece of work with the Hub: `python -m pgml.runtime.hub.errand`. Started and ended by `errands.py`.

Says hello, reads one frame, answers with frames and exits. Killed at any time it leaves nothing half-made.
Knows nothing of the work: a function `run(request, payload, out)` of the operation's module does it.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from pgml.runtime import frames, logs
from pgml.runtime.environment import install_hint
from pgml.runtime.errors import PROTOCOL_VIOLATION, RuntimeFault
from pgml.runtime.redaction import RedactedStream, redact, remember

logger = logging.getLogger("pgml.runtime.hub")  # __name__ is __main__

OPERATIONS = {
    "model": ("pgml.runtime.hub.models", "download the model"),
    "load_dataset": ("pgml.runtime.dataset.load", "load the data set"),
    "push": ("pgml.runtime.hub.push", "push the model"),
    "check_push": ("pgml.runtime.hub.check_push", "ask whether the model can be pushed"),
}
"""Modules, and what completes "could not …"."""
PRELOADED = ("pgml.runtime.hub.models", "pgml.runtime.dataset.load")
"""Imported while nothing is asked yet; what takes longest last."""
LIBRARIES = ("huggingface_hub", "datasets")
SECONDS_BETWEEN_PROGRESS = 1.0
PR_SET_PDEATHSIG = 1


class Out:
    """The way out of an errand; any thread may use it."""

    def __init__(self, stream: frames.Writer) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._last_progress = -SECONDS_BETWEEN_PROGRESS

    def notice(self, text: str) -> None:
        """Tell the user something."""
        self.send({"notice": redact(text)})

    def progress(self, phase: str, done: int, total: int | None = None, rows: int | None = None) -> None:
        """Say how many bytes of how many are "downloading", "loading" or "uploading"; at most once a second."""
        now = time.monotonic()
        with self._lock:
            if now - self._last_progress < SECONDS_BETWEEN_PROGRESS:
                return
            self._last_progress = now
        progress: dict[str, Any] = {"phase": phase, "bytes": done, "total": total}
        self.send({"progress": progress if rows is None else {**progress, "rows": rows}})

    def send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        """Send a frame of the operation's own."""
        with self._lock:
            frames.write_frame(self._stream, header, payload)


def main() -> int:
    """Do one piece of work and return the exit status."""
    _end_with_parent()
    sys.stderr = RedactedStream(sys.stderr)
    logs.setup()
    out = Out(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # whatever else is printed
    work(os.fdopen(0, "rb", buffering=0), out, _preload)
    return 0


def work(stream: frames.Reader, out: Out, prepare: Callable[[], None] = lambda: None) -> None:
    """Say hello, get ready, read what is asked, and answer."""
    out.send(frames.hello())
    prepare()
    frame = frames.read_frame(stream)
    if frame is not None:
        out.send(_answer(*frame, out))


def _answer(request: dict[str, Any], payload: bytes, out: Out) -> dict[str, Any]:
    """The last frame."""
    hub = request.get("hub")
    if isinstance(hub, dict):
        remember(hub.get("token"))
        remember(hub.get("push_token"))
    if request.get("op") not in OPERATIONS:
        return RuntimeFault(f'unknown errand "{request.get("op")}"', sqlstate=PROTOCOL_VIOLATION).as_frame()
    name, doing = OPERATIONS[request["op"]]
    try:
        from pgml.runtime.hub import client  # noqa: PLC0415 imports libraries

        module = importlib.import_module(name)
        for library in LIBRARIES:
            logging.getLogger(library).handlers.clear()  # what they log comes by the root's
        client.wait_within_reason()
        return {"ok": True, **module.run(request, payload, out)}
    except ModuleNotFoundError as error:
        message = f"Python package {error.name} is missing from {sys.executable}"
        return RuntimeFault(message, hint=install_hint()).as_frame()
    except Exception as error:
        from pgml.runtime.hub.errors import as_hub_fault  # noqa: PLC0415 imports libraries

        fault = as_hub_fault(error, doing)
        if fault is not error:
            logger.info("%s", fault.message, exc_info=error)
        return fault.as_frame()


def _preload() -> None:
    for name in PRELOADED:
        if select.select([0], [], [], 0)[0]:
            return
        try:
            importlib.import_module(name)
        except ImportError:  # told when it is needed
            return


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    # Not sys.exit: datasets takes a second to unload, and everything was sent.
    os._exit(main())
