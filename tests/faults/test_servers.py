"""The server process is killed, stopped, or busy."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import psycopg
import pytest
from tests.cluster import wait_until

CLASSIFY = """SELECT pgml.transform('{"task": "text-classification", "model": "bert-classifier"}', '{}', %s::text[])"""
LONG = """
SELECT jsonb_array_length(pgml.transform('{"task": "text-classification", "model": "bert-classifier"}', '{}',
    (SELECT array_agg('a film that was number ' || i || ' of many on a list') FROM generate_series(1, 300000) AS i)))
"""


class Request(threading.Thread):
    """A statement in a thread."""

    def __init__(self, connection, query, *arguments):
        super().__init__(daemon=True)
        self.connection, self.query, self.arguments = connection, query, arguments
        self.error = self.result = None
        self.start()

    def run(self):
        try:
            self.result = self.connection.execute(self.query, self.arguments or None).fetchone()
        except psycopg.Error as error:
            self.error = error


@pytest.fixture
def server(cluster, database):
    """The process id of the server process, which is started if need be."""
    return lambda: started(cluster, database)


def started(cluster, database):
    assert database.run(CLASSIFY, ["a film"])[0][0][0]["label"]
    (pid,) = cluster.python_processes("pgml.runtime.serve")
    return pid


def waiting(database, count):
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND query LIKE '%%transform%%'"
    wait_until(lambda: database.value(query) == count, f"{count} sessions that wait")


def test_a_kill_costs_each_request_in_flight_one_error(cluster, database, server):
    pid = server()
    connections = [database.connect() for _ in range(4)]
    for connection in connections[:3]:
        connection.execute(CLASSIFY, [["warm"]])
    os.kill(pid, signal.SIGSTOP)
    requests = [Request(connection, CLASSIFY, ["a film"]) for connection in connections]
    waiting(database, 4)
    os.kill(pid, signal.SIGKILL)
    # The fourth session had no connection yet: it may wait for the new server instead.
    for request in requests[:3]:
        request.join(10)
        assert request.error is not None
        assert request.error.sqlstate == "08006"
        assert "ended while it was answering" in request.error.diag.message_primary
        assert request.error.diag.message_hint
    requests[3].join(60)
    assert requests[3].result is not None or requests[3].error.sqlstate == "08006"
    # The next call works in the same sessions and in new ones.
    for connection in connections:
        assert connection.execute(CLASSIFY, [["a film"]]).fetchone()[0][0]["label"]
        connection.close()
    assert server() != pid
    assert "terminating any other active server processes" not in cluster.log_text()
    assert "signal 9" in database.value("SELECT last_exit FROM pgml.runtime_status()")


def test_an_idle_session_does_not_notice(database, server):
    with database.connect() as connection:
        connection.execute(CLASSIFY, [["warm"]])
        pid = server()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the server, with all its threads, to be gone")
        assert connection.execute(CLASSIFY, [["a film"]]).fetchone()[0][0]["label"]


def test_a_kill_while_rows_are_read_costs_a_tune_at_most_one_error(database, server, interpreter, tune):
    pid = server()
    database.run("CREATE VIEW slow AS SELECT id, body || pg_sleep(0.02)::text AS body, verdict FROM reviews")
    with interpreter.fake_trainer("--steps 3"):
        tuning = tune(relation="slow")
        tuning.heard("reading the rows")
        os.kill(pid, signal.SIGKILL)
        tuning.end(60)
    assert tuning.result is not None or tuning.error.sqlstate == "08006"


def test_a_kill_does_not_touch_a_job(database, server, interpreter, tune):
    with interpreter.fake_trainer("--steps 100"):
        tuning = tune()
        tuning.trains()
        os.kill(server(), signal.SIGKILL)
        tuning.end(20)
    assert tuning.result[0] == "successful"


def test_statement_timeout_while_the_server_is_stopped(database, server):
    pid = server()
    with database.connect() as connection:
        connection.execute(CLASSIFY, [["warm"]])
        os.kill(pid, signal.SIGSTOP)
        try:
            connection.execute("SET statement_timeout = '300ms'")
            since = time.monotonic()
            with pytest.raises(psycopg.errors.QueryCanceled):
                connection.execute(CLASSIFY, [["a film"]])
            # A new connection waits for the hello; so does the status.
            options = "-c statement_timeout=300ms"
            with database.connect(options=options) as other, pytest.raises(psycopg.errors.QueryCanceled):
                other.execute(CLASSIFY, [["a film"]])
            assert time.monotonic() - since < 2
            assert database.value("SELECT state FROM pgml.runtime_status()") == "ready"
        finally:
            os.kill(pid, signal.SIGCONT)
        connection.execute("RESET statement_timeout")
        assert connection.execute(CLASSIFY, [["a film"]]).fetchone()[0][0]["label"]


def test_a_stopped_server_can_be_restarted(database, server):
    pid = server()
    os.kill(pid, signal.SIGSTOP)
    assert database.value("SELECT pgml.restart_runtime()") is True
    assert server() != pid


def test_a_canceled_request_makes_way_for_others(database, server):
    server()
    with database.connect() as connection:
        request = Request(connection, LONG)
        waiting(database, 1)
        # Others have their turn meanwhile …
        since = time.monotonic()
        assert database.run(CLASSIFY, ["a film"])[0][0][0]["label"]
        assert time.monotonic() - since < 2
        assert request.is_alive()
        connection.cancel_safe(timeout=5)
        request.join(1)
        assert request.error.sqlstate == "57014"
        # … and nothing computes for nobody.
        pid = server()
        wait_until(lambda: is_idle(pid), "the server to be idle", 3)
        assert connection.execute(CLASSIFY, [["a film"]]).fetchone()[0][0]["label"]


def is_idle(pid):
    def ticks():
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(0.2)
    return ticks() - before <= 2


def test_a_killed_client_makes_way_too(database, server):
    server()
    connection = database.connect(options="-c client_connection_check_interval=200")
    request = Request(connection, LONG)
    waiting(database, 1)
    database.run("SELECT pg_terminate_backend(%s)", connection.info.backend_pid)
    request.join(2)
    assert request.error.sqlstate == "57P01"
    connection.close()
    wait_until(lambda: is_idle(server()), "the server to be idle", 5)
