"""Break connections. uvicorn does not tell an application its connection, so they are found by the client's address."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol


class Connection(H11Protocol):
    """uvicorn's own, but to be found again."""

    open: ClassVar[dict[tuple[str, int], Connection]] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.lost = asyncio.Event()
        if self.client:
            self.open[self.client] = self

    def connection_lost(self, exc: Exception | None) -> None:
        if self.client:
            self.open.pop(self.client, None)
        super().connection_lost(exc)
        self.lost.set()


def is_open(client: tuple[str, int]) -> bool:
    return client in Connection.open


async def hang_up(client: tuple[str, int]) -> None:
    """Send what was written so far, then close, whatever was promised."""
    connection = Connection.open.get(client)
    if connection is not None:
        connection.transport.close()
        await connection.lost.wait()
