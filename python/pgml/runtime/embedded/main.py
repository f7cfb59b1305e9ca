"""What PL/Python calls, in the backend's main thread. Nothing waits for long: PostgreSQL wants to hear its interrupts.

The work is done in threads that speak frames over a socket pair, as the processes of shared mode do. They run while the
main thread is in `wait`: PL/Python keeps Python's lock otherwise.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pgml.runtime.embedded import errand_thread, threads, training
from pgml.runtime.environment import install_hint, prepare_training, share_processors
from pgml.runtime.errors import RuntimeFault, as_fault
from pgml.runtime.frames import write_frame
from pgml.runtime.hub import errands
from pgml.runtime.hub.settings import HubSettings
from pgml.runtime.redaction import RedactedStream
from pgml.runtime.serving.connection import Connection

_options: dict[str, Any] = {}
_handlers: Any = None
_making_handlers = threading.Lock()


def start(options: dict[str, Any]) -> None:
    """Set what the libraries read when they are imported: venv, threads, memory_limit, cache_limit, cache, hub."""
    _options.update(options)
    if not getattr(sys, "argv", None):
        sys.argv = [""]  # libraries look at it
    _log_to_the_server()
    share_processors()
    prepare_training()
    os.environ.update(HubSettings.from_request(options["hub"]).variables())
    if options["threads"]:
        os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(options["threads"])
    errands.start_with(errand_thread.ErrandThread)


def _log_to_the_server() -> None:
    """Standard error of a backend is the server log. Other loggers are left alone: the session is not ours alone."""
    sys.stderr = RedactedStream(sys.stderr)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"pgml in process {os.getpid()}: %(levelname)s: %(message)s"))
    ours = logging.getLogger("pgml")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False


def serve(descriptor: int) -> None:
    """Answer requests on a socket, in a thread."""
    threads.start(_serve, socket.socket(fileno=descriptor))


def train(descriptor: int, job: str) -> None:
    """Run the job of a directory, in a thread that reports on a socket."""
    threads.start(training.run, training.opened(descriptor), Path(job).absolute())


def stop_training(seconds: float) -> None:
    """Stop what `train` started after the step that it is in, if that does not take longer."""
    training.stop(seconds)


def wait(descriptor: int, writeable: bool, milliseconds: int) -> None:
    """Let the threads work until a descriptor is ready, but no longer than that; -1 is none."""
    if descriptor < 0:
        time.sleep(milliseconds / 1000)
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT if writeable else select.POLLIN)
    poll.poll(milliseconds)


def _serve(sock: socket.socket) -> None:
    with sock:
        try:
            handlers = _make_handlers()
        except Exception as error:  # noqa: BLE001 told to who asked
            _refuse(sock, error)
            return
        # The backend closes its end to cancel; what is wrong with a request is answered.
        with contextlib.suppress(ConnectionError, RuntimeFault), contextlib.closing(Connection(sock)) as connection:
            connection.serve(handlers)


def _make_handlers() -> Any:
    global _handlers  # noqa: PLW0603 one for the session: it has the loaded models
    with _making_handlers:
        if _handlers is None:
            from pgml.runtime.serving.handlers import Handlers  # noqa: PLC0415 imports torch

            cache = Path(_options["cache"])
            _handlers = Handlers(cache, _options["cache_limit"], _options["memory_limit"], _options["threads"])
        return _handlers


def _refuse(sock: socket.socket, error: Exception) -> None:
    if isinstance(error, ModuleNotFoundError):
        error = RuntimeFault(f"Python package {error.name} is missing from {_options['venv']}", hint=install_hint())
    with contextlib.suppress(ConnectionError), sock.makefile("wb", buffering=0) as stream:
        write_frame(stream, as_fault(error, "start the runtime").as_frame())
