"""What the tests of load_dataset share: a server process that says what it is told, and ways to call."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb
from tests.cluster import Cluster, throwaway
from tests.integration.jobs import refusal

RUNTIME = Path(__file__).parents[1] / "assets" / "frames_runtime.py"
CALL = "SELECT * FROM pgml.load_dataset(%s, kwargs => %s)"
DONE = {"header": {"ok": True}}
SILENCE = {"header": {}, "pause": 3600}


@contextmanager
def told_cluster() -> Iterator[Cluster]:
    """A cluster whose runtime is tests/assets/frames_runtime.py."""
    with throwaway() as cluster:
        python = cluster.root / "python"
        runtime = cluster.root / "runtime.py"
        runtime.write_text(RUNTIME.read_text())
        runtime.chmod(0o644)
        python.write_text(f'#!/bin/sh\nshift 2\nexec {sys.base_prefix}/bin/python3 -S {runtime} "$@"\n')
        python.chmod(0o755)
        cluster.configure(**{"pgml.python": str(python)})
        cluster.reload()
        yield cluster


def columns(**kinds: str) -> dict[str, Any]:
    """The frame of columns that have no comment."""
    return {"header": {"table": {"columns": [{"name": n, "type": k, "comment": None} for n, k in kinds.items()]}}}


def rows(lines: str, times: int = 1, pause: float = 0) -> dict[str, Any]:
    """Frames of rows, in COPY's text format."""
    return {"header": {"rows": lines.count("\n")}, "payload": lines, "times": times, "pause": pause}


def numbers(first: int, last: int) -> list[dict[str, Any]]:
    """All frames of a data set with a column `n`."""
    return [columns(n="integer"), rows("".join(f"{n}\n" for n in range(first, last + 1))), DONE]


def load(connection: psycopg.Connection, source: str, frames: list[dict[str, Any]], **kwargs: Any) -> tuple[str, int]:
    """Load what the frames say; name of the table, number of rows."""
    return connection.execute(CALL, [source, Jsonb({"frames": frames, **kwargs})]).fetchone()


def load_refusal(connection: psycopg.Connection, source: str, frames: list[dict[str, Any]], **kwargs: Any) -> Any:
    """What a load that must fail says."""
    return refusal(connection, CALL, source, Jsonb({"frames": frames, **kwargs}))


def tables(connection: psycopg.Connection) -> set[str]:
    """The tables that are not the extension's."""
    query = "SELECT oid::regclass::text FROM pg_class WHERE oid >= 16384 AND relkind = 'r' AND oid NOT IN "
    query += "(SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass AND deptype = 'e')"
    return {name for (name,) in connection.execute(query)}


@contextmanager
def loading(
    connection: psycopg.Connection, source: str, frames: list[dict[str, Any]], **kwargs: Any
) -> Iterator[dict[str, Any]]:
    """Load in a thread, which has ended at the end; then `result` or `error` is there."""
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["result"] = load(connection, source, frames, **kwargs)
        except psycopg.Error as error:
            outcome["error"] = error

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield outcome
    except BaseException:
        connection.cancel_safe(timeout=5)
        raise
    finally:
        thread.join()
