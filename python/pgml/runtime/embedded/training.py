"""One training in a thread of the backend: the trainer's work, with a socket where the process has pipes."""

from __future__ import annotations

import contextlib
import gc
import logging
import socket
import threading
from pathlib import Path
from typing import Any

from pgml.runtime.errors import as_fault
from pgml.runtime.tuning.channel import Channel

logger = logging.getLogger(__name__)


class Stopped(BaseException):
    """Nobody waits for the training any more. Not an Exception: a library may catch those."""


class SocketChannel(Channel):
    """Events over a socket; when the other side is closed, the training ends at its next step or batch."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        super().__init__(sock.makefile("wb", buffering=0))

    def may_end(self) -> None:
        """Hear whether to stop."""
        try:
            if not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                raise Stopped
        except BlockingIOError:
            pass

    def _send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        try:
            super()._send(header, payload)
        except OSError as error:
            raise Stopped from error


# One at a time: one that was stopped may still be in its last step, and they share the generators of random numbers.
_running = threading.Lock()
_latest: socket.socket | None = None


def opened(descriptor: int) -> socket.socket:
    """The socket of the training that is started next."""
    global _latest  # noqa: PLW0603 a session has one training
    _latest = socket.socket(fileno=descriptor)
    return _latest


def stop(seconds: float) -> None:
    """Tell the latest training to stop, and give it time to do so."""
    if _latest is not None:
        with contextlib.suppress(OSError):  # it has ended
            _latest.shutdown(socket.SHUT_RDWR)
    if _running.acquire(timeout=seconds):
        _running.release()


def run(sock: socket.socket, job: Path) -> None:
    """Run the job of a directory; its last frame says how it ended."""
    with sock, _running:
        try:
            _run(sock, job)
        except Stopped:
            logger.info("training was stopped")
        finally:
            gc.collect()  # a Trainer is a circle of references, and the session goes on


def _run(sock: socket.socket, job: Path) -> None:
    from pgml.runtime.train import read_hub, read_request, tune  # noqa: PLC0415 heavy; here it is told what they lack

    channel = SocketChannel(sock)
    try:
        with sock.makefile("rb", buffering=0) as stream:
            hub = read_hub(stream)
        tune(channel, job, _in_this_process(read_request(job)), lambda: hub)
    except Exception as error:
        logger.info("tuning failed", exc_info=error)
        channel.send_error(as_fault(error, "tune the model"))


def _in_this_process(request: dict[str, Any]) -> dict[str, Any]:
    """The job without workers that load data: they would be forks of the backend."""
    arguments = request["plan"]["hyperparams"].get("training_args")
    if arguments:
        arguments["dataloader_num_workers"] = 0
    return request
