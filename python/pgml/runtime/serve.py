"""The server process: `python -m pgml.runtime.serve --socket PATH --cache DIR`. Knows sockets; nothing of models.

It listens before it imports torch, so that clients can connect and wait for the hello frame.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import struct
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pgml import __version__
from pgml.runtime import frames, logs
from pgml.runtime.environment import MISSING_PACKAGE, install_hint, prepare_environment, share_processors
from pgml.runtime.errors import PROTOCOL_VIOLATION, Cancelled, RuntimeFault, as_fault, fault_of

if TYPE_CHECKING:
    from pgml.runtime.serving.handlers import Handlers
    from pgml.runtime.serving.store import Parts

logger = logging.getLogger("pgml.runtime.serve")  # __name__ is __main__


class Connection:
    """One client, one request at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._stream = sock.makefile("rwb", buffering=0)

    def close(self) -> None:
        """Let go of the socket, which is closed only when its stream is."""
        self._stream.close()

    def serve(self, handlers: Handlers) -> None:
        """Answer requests until the client closes."""
        self._send(frames.hello())
        while (frame := frames.read_frame(self._stream)) is not None:
            header, payload = frame
            try:
                answer, result = handlers.answer(header, payload, self)
                self._send(answer, result)
            except (Cancelled, ConnectionError):
                logger.debug("client went away during %s", header.get("op"))
                return
            except Exception as error:
                fault = as_fault(error, f"run {header.get('op')}")
                if fault is not error:
                    logger.exception("%s", fault.message)
                self._send(fault.as_frame())

    def fetch(self, digest: str) -> Parts:
        """Ask the client for the files of a stored model."""
        self._send({"need": "files", "digest": digest})
        ended = False
        try:
            while not ended:
                path, part = self._next_part()
                ended = path is None
                if path is not None:
                    yield path, part
        except GeneratorExit:
            # The model was refused before its end: what is still under way must not be taken for the next request.
            while self._next_part()[0] is not None:
                pass
            raise

    def resolve(self, name: str, revision: str | None = None) -> dict[str, Any]:
        """Ask the client for the model of a name."""
        self._send({"need": "model", "name": name, "revision": revision})
        frame = frames.read_frame(self._stream)
        if frame is None:
            raise ConnectionError("client closed its connection instead of naming a model")
        header, _ = frame
        error, model = header.get("error"), header.get("model")
        if isinstance(error, dict):
            raise fault_of(error)
        if not isinstance(model, dict):
            raise RuntimeFault("expected a model frame", sqlstate=PROTOCOL_VIOLATION)
        return model

    def notify(self, message: str) -> None:
        """Send a notice."""
        self._send({"notice": message})

    def send_piece(self, row: list[Any]) -> None:
        """Send a row of a stream."""
        self._send({"piece": True}, frames.encode(row))

    def relay(self, header: dict[str, Any], payload: bytes = b"") -> None:
        """Send a frame that an errand sent."""
        self._send(header, payload)

    def cancelled(self) -> bool:
        """Whether the client has closed its end."""
        try:
            return not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:  # also a socket that this process has just closed
            return True

    def _next_part(self) -> tuple[str | None, bytes]:
        frame = frames.read_frame(self._stream)
        if frame is None:
            raise ConnectionError("client closed its connection while sending files")
        header, payload = frame
        if header.get("files_end"):
            return None, b""
        if not isinstance(header.get("file"), str):
            raise RuntimeFault("expected a file frame", sqlstate=PROTOCOL_VIOLATION)
        return header["file"], payload

    def _send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        frames.write_frame(self._stream, header, payload)


def main() -> None:
    """Start, serve, and end with SIGTERM."""
    options = _parse_arguments()
    logs.setup()
    share_processors()
    prepare_environment(str(options.cache.parent / "huggingface"))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _end(options.socket))
    listener = _listen(options.socket)
    handlers = _make_handlers(options)
    logger.info("runtime %s is ready", __version__)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=_serve, args=(sock, handlers), daemon=True).start()


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pgml.runtime.serve", description="Serve models to PostgreSQL.")
    parser.add_argument("--socket", type=Path, required=True, help="where to listen")
    parser.add_argument("--cache", type=Path, required=True, help="directory for models of the registry")
    parser.add_argument("--memory-limit", type=int, default=0, metavar="BYTES", help="for loaded models; 0 is no limit")
    parser.add_argument("--cache-limit", type=int, default=0, metavar="BYTES", help="for the cache; 0 is no limit")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="for computing; 0 is all cores")
    return parser.parse_args()


def _listen(path: Path) -> socket.socket:
    """Listen at a path that appears only when connections are accepted, whatever was there before."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    previous = os.umask(0o177)
    try:
        listener.bind(str(temporary))
    finally:
        os.umask(previous)
    listener.listen(socket.SOMAXCONN)
    temporary.rename(path)
    return listener


def _make_handlers(options: argparse.Namespace) -> Handlers:
    """Import torch and all that; a missing package ends the process with a hint."""
    try:
        # The imports of which the listening above is a part of the point.
        from pgml.runtime.serving.handlers import Handlers  # noqa: PLC0415
        from pgml.runtime.tasks import text_classification  # noqa: F401, PLC0415 ready for the first request
    except ImportError as error:
        options.socket.unlink(missing_ok=True)
        logger.error(  # noqa: TRY400 a traceback would say less
            'could not import Python package "%s" with interpreter "%s": %s',
            error.name,
            sys.executable,
            error,
            extra={"hint": install_hint()},
        )
        sys.exit(MISSING_PACKAGE)
    return Handlers(options.cache, options.cache_limit, options.memory_limit, options.threads)


def _serve(sock: socket.socket, handlers: Handlers) -> None:
    with sock:
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        uid = struct.unpack("3i", credentials)[1]
        if uid not in (os.geteuid(), 0):
            logger.warning("refused a connection from user id %d", uid)
            return
        try:
            with contextlib.closing(Connection(sock)) as connection:
                connection.serve(handlers)
        except ConnectionError:
            logger.debug("client went away")
        except RuntimeFault as fault:
            logger.warning("ended a connection: %s", fault.message)


def _end(path: Path) -> NoReturn:
    # At once: a step that computes would hold up an orderly end for seconds, and there is nothing to save.
    path.unlink(missing_ok=True)
    os._exit(0)


if __name__ == "__main__":
    main()
