"""A client at the other end of a socket, for whom requests are answered one after another.

Knows frames; nothing of where the socket comes from and of what is asked.
"""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Any

from pgml.runtime import frames
from pgml.runtime.errors import PROTOCOL_VIOLATION, Cancelled, RuntimeFault, as_fault, fault_of

if TYPE_CHECKING:
    from pgml.runtime.serving.handlers import Handlers
    from pgml.runtime.serving.store import Parts

logger = logging.getLogger(__name__)


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
