"""The side that asked, as handlers see it. Knows nothing of sockets and of what is asked."""

from __future__ import annotations

from typing import Any, Protocol

from pgml.runtime.serving.store import Parts

Answer = tuple[dict[str, Any], bytes]


class Client(Protocol):
    """The side that asked."""

    def fetch(self, digest: str) -> Parts:
        """Ask for the files of a stored model."""
        ...

    def resolve(self, name: str, revision: str | None = None) -> dict[str, Any]:
        """Ask for the model of a name; a fault says why there is none. The revision is for a model of the Hub."""
        ...

    def notify(self, message: str) -> None:
        """Tell the user something beside the answer."""
        ...

    def send_piece(self, row: list[Any]) -> None:
        """Send a part of the answer of a stream."""
        ...

    def relay(self, header: dict[str, Any], payload: bytes = b"") -> None:
        """Pass on a frame before the last one."""
        ...

    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more; any thread may ask."""
        ...
