"""Streams that end before their last row: whoever made them stop, the generation stops too."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import psycopg
import pytest
from tests.cluster import wait_until

LONG = """SELECT pgml.transform_stream('{"task": "conversational", "model": "llama-endless"}'::jsonb,
                                       '{"max_tokens": 500000, "n": 2, "seed": 5}', 'Tell me everything')"""
SHORT = """SELECT pgml.transform('{"task": "conversational", "model": "llama-endless"}'::jsonb,
                                 '{"max_tokens": 2, "temperature": 0}', ARRAY['Hello'])"""


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sockets(pid):
    """How many requests and waiting sessions a process has, and its listening socket."""
    return sum(str(entry.readlink()).startswith("socket:") for entry in Path(f"/proc/{pid}/fd").iterdir())


class Server:
    """The server process: what is under way in it besides what was before."""

    def __init__(self, pid):
        self.pid = pid
        self._before = min(self._counts())

    def _counts(self):
        """Over a while: the sessions that were there until now are still leaving."""
        for _ in range(10):
            yield sockets(self.pid)
            time.sleep(0.05)

    def is_free(self):
        """Whether it has no request of this test and computes nothing for a moment."""
        if sockets(self.pid) > self._before:
            return False
        before = cpu_seconds(self.pid)
        time.sleep(0.2)
        return cpu_seconds(self.pid) - before < 0.1

    def stops_soon(self):
        start = time.monotonic()
        wait_until(self.is_free, "the generation to stop", 5)
        assert time.monotonic() - start < 1.5


@pytest.fixture
def server(database):
    """With the model loaded."""
    database.run(SHORT)
    pid = database.value("SELECT pid FROM pgml.runtime_status()")
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    wait_until(lambda: database.value(others) == 0, "the sessions to end")
    return Server(pid)


@pytest.fixture
def cursor(database, server):
    """A connection with a cursor whose first row has arrived."""
    with database.connect(autocommit=False) as connection:
        connection.execute(f"DECLARE answer CURSOR FOR {LONG}")
        connection.execute("FETCH 1 FROM answer")
        assert not server.is_free()
        yield connection


def test_a_closed_cursor(cursor, server):
    cursor.execute("CLOSE answer")
    server.stops_soon()


def test_a_rollback(cursor, server):
    cursor.rollback()
    server.stops_soon()


def test_a_rolled_back_savepoint(database, server):
    with database.connect(autocommit=False) as connection:
        connection.execute("SAVEPOINT before")
        connection.execute(f"DECLARE answer CURSOR FOR {LONG}")
        connection.execute("FETCH 1 FROM answer")
        connection.execute("ROLLBACK TO before")
        server.stops_soon()


def test_an_error_in_the_transaction(cursor, server):
    with pytest.raises(psycopg.errors.DivisionByZero):
        cursor.execute("SELECT 1 / 0")
    server.stops_soon()


def test_a_cancel_while_waiting_for_a_row(database, server):
    with database.connect() as connection:
        threading.Timer(0.5, connection.cancel_safe).start()
        start = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute(LONG)
        assert time.monotonic() - start < 2
    server.stops_soon()


def test_a_lost_client(cursor, server):
    with socket.socket(fileno=os.dup(cursor.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)  # no goodbye
    server.stops_soon()
    cursor.close()


def test_a_killed_psql_that_printed_rows(database, server):
    pipe = subprocess.PIPE
    with subprocess.Popen(database.psql("-A", "-t"), stdin=pipe, stdout=pipe, text=True) as psql:
        psql.stdin.write(f"\\set FETCH_COUNT 1\n{LONG};\n")
        psql.stdin.flush()
        assert psql.stdout.readline().startswith("[")
        psql.send_signal(signal.SIGKILL)
    server.stops_soon()


def test_a_reader_that_sleeps_holds_up_nobody(cursor, database):
    start = time.monotonic()
    assert database.value(SHORT)
    assert time.monotonic() - start < 5


def test_the_server_process_is_killed(cursor, server):
    os.kill(server.pid, signal.SIGKILL)
    with pytest.raises(psycopg.OperationalError, match="runtime ended while it was answering"):
        cursor.execute("FETCH ALL FROM answer")


def test_one_long_answer_does_not_hold_up_a_short_one(database, server):
    with database.connect(autocommit=False) as connection:
        connection.execute(f"DECLARE answer CURSOR FOR {LONG}")
        connection.execute("FETCH 1 FROM answer")
        connection.execute("MOVE 3 IN answer")
        assert database.value(SHORT)
        assert connection.execute("FETCH 1 FROM answer").fetchall()  # the long one is still under way


def test_requests_with_a_statement_timeout(database, server):
    with database.connect() as connection:
        connection.execute("SET statement_timeout = '500ms'")
        with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
            connection.execute(LONG, prepare=False)
        connection.execute("RESET statement_timeout")
        assert connection.execute(SHORT).fetchone()
