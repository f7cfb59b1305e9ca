"""Where a client connects to, and what it says where it cannot."""

from __future__ import annotations

import asyncio
import time

import psycopg
import pytest

from pgml.connections import Connections, resolve_url

NOWHERE = "host=/nonexistent"


def test_the_argument_counts_before_the_environment(monkeypatch):
    monkeypatch.delenv("PGML_DATABASE_URL", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert resolve_url(None) == ""  # what PGHOST and the like say
    monkeypatch.setenv("DATABASE_URL", "dbname=second")
    assert resolve_url(None) == "dbname=second"
    monkeypatch.setenv("PGML_DATABASE_URL", "dbname=first")
    assert resolve_url(None) == "dbname=first"
    assert resolve_url("dbname=given") == "dbname=given"


def test_a_server_that_is_not_there_is_an_error_at_once():
    started = time.monotonic()
    with pytest.raises(psycopg.OperationalError, match="No such file"), Connections(NOWHERE).connection():
        pass

    async def connect() -> None:
        async with Connections(NOWHERE).async_connection():
            pass

    with pytest.raises(psycopg.OperationalError, match="No such file"):
        asyncio.run(connect())
    assert time.monotonic() - started < 2


def test_a_string_that_is_no_connection_string():
    with pytest.raises(psycopg.ProgrammingError, match='missing "="'), Connections("DATABASE_URL").connection():
        pass


def test_closed_is_closed():
    connections = Connections(NOWHERE)
    connections.close()
    connections.close()
    with pytest.raises(psycopg.InterfaceError, match="closed"), connections.connection():
        pass


def test_no_connections_are_too_few():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        Connections(NOWHERE, max_connections=0)
