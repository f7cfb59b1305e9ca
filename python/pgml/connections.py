"""Connections to one database, opened when they are first needed and kept for the next call. Knows nothing of models.

One pool serves all threads, and one each event loop; a forked process has its own. A pool has no threads or tasks of
its own: whoever needs a connection opens it, and so gets libpq's own reason if that fails. (The pools of psycopg_pool
try again in tasks of theirs, and such a task, cancelled at the end of an event loop while it connects, keeps the loop
from ending.)
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import psycopg
from psycopg.errors import Diagnostic
from psycopg.pq import TransactionStatus

MAX_CONNECTIONS = 16
OPTIONS: dict[str, Any] = {
    "autocommit": True,
    "client_encoding": "utf8",  # that of a database in SQL_ASCII would turn all texts into bytes
    "fallback_application_name": "pgml",
    "prepare_threshold": None,  # named statements would not survive a proxy that shares connections
}
logger = logging.getLogger("pgml")


def resolve_url(database_url: str | None) -> str:
    """What libpq is asked to connect to; empty where only its own environment variables (PGHOST …) say it."""
    return database_url or os.environ.get("PGML_DATABASE_URL") or os.environ.get("DATABASE_URL") or ""


def log_notice(notice: Diagnostic) -> None:
    """Pass on a server's message; warnings reach standard error unless the program sets up logging otherwise."""
    level = logging.WARNING if notice.severity_nonlocalized == "WARNING" else logging.INFO
    logger.log(level, "%s", notice.message_primary)


class Connections:
    """Pools of autocommit connections to one database. Safe in threads and in event loops; `close` is final."""

    def __init__(self, database_url: str | None = None, *, max_connections: int = MAX_CONNECTIONS) -> None:
        if max_connections < 1:
            raise ValueError(f"max_connections must be at least 1, not {max_connections}")
        self.conninfo = resolve_url(database_url)
        self.max_connections = max_connections
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._pool = _ThreadPool(self.conninfo, self.max_connections)
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopPool] = weakref.WeakKeyDictionary()
        self._finalizer = weakref.finalize(self, self._pool.close)  # also at the end of the program

    def begin_anew(self) -> None:
        """In a process that was forked: leave the connections to the parent, without a word to the server."""
        self._finalizer.detach()
        _of_the_parent.append((self._pool, self._loops))
        was_closed = self._pool.is_closed
        self._begin()
        if was_closed:
            self._pool.close()

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """A connection for this thread until the block ends; waits while all are in use."""
        pool = self._pool
        connection = pool.take()
        try:
            yield connection
        finally:
            pool.give_back(connection)

    @asynccontextmanager
    async def async_connection(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """A connection for this task until the block ends; waits while all are in use."""
        self._pool.check_open()
        loop = asyncio.get_running_loop()
        pool = self._loops.get(loop)
        if pool is None:
            forget = partial(self._loops.pop, loop, None)
            pool = self._loops[loop] = _LoopPool(self.conninfo, self.max_connections, forget)
        connection = await pool.take()
        try:
            yield connection
        finally:
            await pool.give_back(connection)

    def close(self) -> None:
        """Close the connections of the threads. Those of an event loop close with the loop, or by `aclose`."""
        self._pool.close()

    async def aclose(self) -> None:
        """Close the connections of the threads and of the running event loop."""
        self.close()
        pool = self._loops.pop(asyncio.get_running_loop(), None)
        if pool:
            await pool.close()


class _ThreadPool:
    """The connections of all threads."""

    def __init__(self, conninfo: str, size: int) -> None:
        self.conninfo = conninfo
        self._idle: deque[psycopg.Connection] = deque()
        self._free = threading.BoundedSemaphore(size)
        self.is_closed = False

    def take(self) -> psycopg.Connection:
        self.check_open()
        self._free.acquire()
        try:
            return self._kept() or self._new()
        except BaseException:
            self._free.release()
            raise

    def _kept(self) -> psycopg.Connection | None:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread took the last one
                break
            try:
                connection.execute("")
            except BaseException as error:  # the server has ended it, or the user interrupts
                connection.close()
                if not isinstance(error, psycopg.OperationalError):
                    raise
            else:
                return connection
        return None

    def _new(self) -> psycopg.Connection:
        connection = psycopg.connect(self.conninfo, **OPTIONS)
        connection.add_notice_handler(log_notice)
        return connection

    def give_back(self, connection: psycopg.Connection) -> None:
        if self.is_closed or not _is_reusable(connection):
            connection.close()
        else:
            self._idle.append(connection)
        self._free.release()

    def check_open(self) -> None:
        if self.is_closed:
            raise psycopg.InterfaceError("the client is closed")

    def close(self) -> None:
        self.is_closed = True
        while self._idle:
            self._idle.pop().close()


class _LoopPool:
    """The connections of one event loop, which are closed before the loop is."""

    def __init__(self, conninfo: str, size: int, forget: Callable[[], object]) -> None:
        self.conninfo = conninfo
        self._forget = forget
        self._idle: deque[psycopg.AsyncConnection] = deque()
        self._free = asyncio.BoundedSemaphore(size)
        self._end: AsyncGenerator[None, None] | None = None
        self._closed = False

    async def take(self) -> psycopg.AsyncConnection:
        await self._free.acquire()
        try:
            if self._end is None:
                self._end = self._live()
                await anext(self._end)
            return await self._kept() or await self._new()
        except BaseException:
            self._free.release()
            raise

    async def _kept(self) -> psycopg.AsyncConnection | None:
        while self._idle:
            connection = self._idle.pop()
            try:
                await connection.execute("")
            except BaseException as error:  # the server has ended it, or this task is cancelled
                await connection.close()
                if not isinstance(error, psycopg.OperationalError):
                    raise
            else:
                return connection
        return None

    async def _new(self) -> psycopg.AsyncConnection:
        connection = await psycopg.AsyncConnection.connect(self.conninfo, **OPTIONS)
        connection.add_notice_handler(log_notice)
        return connection

    async def give_back(self, connection: psycopg.AsyncConnection) -> None:
        if self._closed or not _is_reusable(connection):
            await connection.close()
        else:
            self._idle.append(connection)
        self._free.release()

    async def close(self) -> None:
        if self._end is not None:
            await self._end.aclose()

    async def _live(self) -> AsyncGenerator[None, None]:
        # An event loop closes the asynchronous generators that are left before it ends, and one that is garbage: both
        # are the moments to close the connections, and nothing else tells of them.
        try:
            yield
        finally:
            self._closed = True
            self._forget()  # the pool knows its loop: neither would be freed
            while self._idle:
                await self._idle.pop().close()


_all: weakref.WeakSet[Connections] = weakref.WeakSet()
_of_the_parent: list[object] = []
"""What a forked process must not close: closing tells the server, on a connection that the parent uses."""


def _after_fork() -> None:
    for connections in list(_all):
        connections.begin_anew()


os.register_at_fork(after_in_child=_after_fork)


def _is_reusable(connection: psycopg.Connection | psycopg.AsyncConnection) -> bool:
    """Not broken, and not in the middle of a statement that was given up."""
    return not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE
