"""A waiting client is lost: the job goes on, or stops where the caller asked for that."""

from __future__ import annotations

import os
import signal
import socket
import subprocess

import pytest
from tests.cluster import wait_until
from tests.faults.tuning import is_running, nothing_left, tune_query

RUNNING = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%pgml.tune%%' AND pid <> pg_backend_pid()"


def psql(database, query):
    """A client that can be killed."""
    return subprocess.Popen(database.psql("-c", query), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def status(database):
    rows = database.run("SELECT status FROM pgml.jobs")
    return rows[0][0] if rows else None


@pytest.fixture
def client(database):
    """Starts psql with pgml.tune and waits until the job logs; kills it at the end at the latest."""
    clients = []

    def start(settings=""):
        clients.append(psql(database, f"{settings}{tune_query()}"))
        wait_until(lambda: database.value("SELECT count(*) FROM pgml.logs"), "logs")
        return clients[-1]

    yield start
    for client in clients:
        client.kill()
        client.wait()


def test_a_killed_client_leaves_the_job_running_to_success(database, interpreter, client):
    with interpreter.fake_trainer("--steps 150 --pause 0.02"):
        process = client()
        process.send_signal(signal.SIGKILL)
        wait_until(lambda: not database.value(RUNNING), "the backend to notice")
        assert status(database) == "in_progress"
        wait_until(lambda: status(database) == "successful", "the job")
    # The deployment is part of the caller's transaction, which is lost.
    assert database.value("SELECT count(*) FROM pgml.deployments") == 0
    assert database.value("SELECT count(*) FROM pgml.files") == 3
    nothing_left(database)


def test_a_client_that_is_lost_in_a_real_training(tune, database):
    tuning = tune(num_train_epochs=60)
    trainer = tuning.trains()
    with socket.socket(fileno=os.dup(tuning.connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)  # no goodbye
    wait_until(lambda: not database.value(RUNNING), "the backend to notice")
    assert is_running(trainer) or status(database) == "successful"
    wait_until(lambda: status(database) == "successful", "the job")
    assert database.value("SELECT sum(length(data)) > 10000 FROM pgml.files")
    nothing_left(database)


def test_on_disconnect_cancel(database, interpreter, client):
    with interpreter.fake_trainer():
        process = client("SET pgml.on_disconnect = cancel; ")
        process.send_signal(signal.SIGKILL)
        wait_until(lambda: status(database) == "cancelled", "the job to stop", 5)
    error, sqlstate = database.run("SELECT error, sqlstate FROM pgml.jobs")[0]
    assert "disconnected" in error
    assert sqlstate == "57014"
    nothing_left(database)


@pytest.mark.parametrize(("setting", "end"), [("continue", "successful"), ("cancel", "cancelled")])
def test_a_terminated_backend(tune, database, interpreter, setting, end):
    with interpreter.fake_trainer("--steps 100 --pause 0.02"):
        tuning = tune(settings=f"SET pgml.on_disconnect = {setting}")
        tuning.trains()
        assert database.value("SELECT pg_terminate_backend(%s)", tuning.backend)
        tuning.end(2)
        assert tuning.error.sqlstate == "57P01"
        wait_until(lambda: status(database) == end, f"status {end}, now {status(database)}", 10)
    nothing_left(database)
