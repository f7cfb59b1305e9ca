"""The supervisor: when it starts, what it says when the server process does not, and how it recovers."""

from __future__ import annotations

import os
import signal
import threading
import time

import psycopg
import pytest
from tests.cluster import make_database, throwaway, wait_until

CLASSIFY = (
    """SELECT pgml.transform('{"task": "text-classification", "model": "bert-classifier"}', '{}', ARRAY['a film'])"""
)
STATUS = "SELECT {} FROM pgml.runtime_status()"


def answers(database):
    return database.value(CLASSIFY)[0]["label"] in {"negative", "neutral", "positive"}


def status(database, column="state"):
    return database.value(STATUS.format(column))


def servers(cluster):
    return cluster.python_processes("pgml.runtime.serve")


def refusal(database):
    """The error of a request that finds no runtime, and how long it took."""
    since = time.monotonic()
    with pytest.raises(psycopg.Error) as caught:
        database.run(CLASSIFY)
    return caught.value, time.monotonic() - since


@pytest.fixture
def fresh(cluster, database):
    """The cluster as after a start."""
    cluster.restart()
    return cluster


@pytest.fixture
def running(cluster, database):
    """The process id of the server process."""
    assert answers(database)
    return servers(cluster)[0]


def test_it_starts_with_the_first_use(fresh, database):
    assert status(database) == "stopped"
    assert database.value("SELECT count(*) FROM pgml.loaded_models") == 0
    assert not servers(fresh)
    assert answers(database)
    assert status(database) == "ready"
    assert status(database, "pid") == servers(fresh)[0]


def test_sessions_that_come_at_once_start_one(fresh, database):
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(answers(database))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert outcomes == [True] * 6
    assert len(servers(fresh)) == 1
    assert status(database, "starts") == 1
    wait_until(lambda: len([c for _, c in fresh.processes() if "pgml supervisor" in c]) == 1, "one supervisor")


def test_with_preload_it_starts_at_boot(model_directory, interpreter):
    settings = {"shared_preload_libraries": "pgml", "pgml.python": str(interpreter.path)}
    with throwaway(model_directory, **settings) as cluster:
        wait_until(lambda: servers(cluster), "the server process")
        database = make_database(cluster)
        wait_until(lambda: status(database) == "ready", "the server to be ready", 60)
        assert answers(database)


def test_a_supervisor_that_is_terminated_ends_its_server_and_comes_back(cluster, database, running):
    supervisor = status(database, "supervisor_pid")
    os.kill(supervisor, signal.SIGTERM)
    wait_until(lambda: not servers(cluster), "the server to end", 5)
    assert answers(database)
    assert status(database, "supervisor_pid") != supervisor


def test_pg_cancel_does_not_stop_it(cluster, database, running):
    os.kill(status(database, "supervisor_pid"), signal.SIGINT)
    time.sleep(0.3)
    assert answers(database)
    assert servers(cluster) == [running]


def test_restart_runtime(cluster, database, running):
    assert database.value("SELECT pgml.restart_runtime()") is True
    assert running not in servers(cluster)
    assert answers(database)


def test_a_changed_setting_restarts_the_server(cluster, database, running, cluster_settings):
    cluster_settings("pgml.runtime_threads", 1)
    wait_until(lambda: servers(cluster) not in ([], [running]), "another server")
    command = next(command for pid, command in cluster.processes() if pid == servers(cluster)[0])
    assert "--threads 1" in command
    assert answers(database)


def test_a_setting_that_is_not_the_servers_does_not(cluster, database, running, cluster_settings):
    cluster_settings("work_mem", "5MB")
    cluster_settings("pgml.max_jobs", 3)
    time.sleep(0.7)
    assert servers(cluster) == [running]


def test_an_interpreter_that_is_not_there(database, running, cluster_settings):
    cluster_settings("pgml.python", "/nowhere/bin/python")
    wait_until(lambda: status(database) == "backoff", "the failed start")
    error, seconds = refusal(database)
    assert seconds < 2
    assert error.sqlstate == "38000"
    assert "/nowhere/bin/python" in error.diag.message_detail
    assert "pgml.python" in error.diag.message_hint
    cluster_settings("pgml.python", database.value("SELECT reset_val FROM pg_settings WHERE name = 'data_directory'"))
    error, _ = refusal(database)  # a directory
    assert "ermission denied" in error.diag.message_detail


def test_it_recovers_when_the_interpreter_is_set_right(database, running, cluster_settings, interpreter):
    cluster_settings("pgml.python", "/nowhere/bin/python")
    wait_until(lambda: status(database) == "backoff", "the failed start")
    cluster_settings("pgml.python", interpreter.path)
    assert answers(database)


def test_an_interpreter_without_our_package(database, running, cluster_settings):
    cluster_settings("pgml.python", "/usr/bin/python3")
    error, _ = refusal(database)
    assert error.sqlstate == "38000"
    assert "/usr/bin/python3" in error.diag.message_detail
    assert "pgml" in error.diag.message_detail.replace("/usr/bin/python3", "")
    assert error.diag.message_hint


def test_a_package_is_missing(database, interpreter, running):
    package = interpreter.home / "broken"
    package.mkdir(exist_ok=True)
    (package / "torch.py").write_text("""raise ModuleNotFoundError("No module named 'torch'", name="torch")""")
    with interpreter.server(f'export PYTHONPATH="{package}"'):
        with pytest.raises(psycopg.Error):
            database.run("SELECT pgml.restart_runtime()")
        error, _ = refusal(database)
        assert error.sqlstate == "38000"
        assert "torch" in error.diag.message_detail
        assert "python" in error.diag.message_detail
        assert "make install" in error.diag.message_hint
    assert database.value("SELECT pgml.restart_runtime()") is True
    assert answers(database)


def test_a_runtime_that_dies_at_its_start(database, interpreter, running):
    with interpreter.server("echo 'first words'; echo 'libcudart.so.13 is not here' >&2; exit 5"):
        with pytest.raises(psycopg.Error, match="ended while it was starting"):
            database.run("SELECT pgml.restart_runtime()")
        error, seconds = refusal(database)
        assert seconds < 5
        assert str(interpreter.path) in error.diag.message_detail
        assert "exit status 5" in error.diag.message_detail
        assert "libcudart.so.13 is not here" in error.diag.message_detail
        assert "restart_runtime" in error.diag.message_hint
        assert (status(database, "last_exit"), status(database, "last_words")) == (
            "exit status 5",
            "libcudart.so.13 is not here",
        )
    # It is tried again by itself.
    wait_until(lambda: status(database) == "ready", "the runtime to recover", 60)
    assert answers(database)


def test_a_tune_without_a_runtime_leaves_nothing(database, interpreter, tune, running):
    with interpreter.server("exit 5"):
        with pytest.raises(psycopg.Error):
            database.run("SELECT pgml.restart_runtime()")
        tuning = tune()
        tuning.end(20)
        assert tuning.error.sqlstate == "38000"
    assert database.value("SELECT count(*) FROM pgml.models") == 0
    assert not list((database.cluster.data / "pgml" / "jobs").glob("*/*"))
    database.run("SELECT pgml.restart_runtime()")


def test_a_runtime_that_never_becomes_ready(cluster, database, interpreter, running, cluster_settings):
    cluster_settings("pgml.runtime_start_timeout", "1s")
    with interpreter.server("exec sleep 1000"):
        with pytest.raises(psycopg.Error):
            database.run("SELECT pgml.restart_runtime()")
        error, seconds = refusal(database)
        assert 0.9 < seconds < 3
        assert error.sqlstate == "57P03"
        assert "pgml.runtime_start_timeout is 1 second" in error.diag.message_detail
        assert "runtime_status" in error.diag.message_hint
        assert status(database) == "starting"
        cluster_settings("pgml.runtime_start_timeout", "60s")
        options = "-c statement_timeout=300ms"
        with database.connect(options=options) as connection, pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute(CLASSIFY)
    assert database.value("SELECT pgml.restart_runtime()") is True
    assert answers(database)


def test_no_background_worker_is_left_for_it(model_directory):
    with throwaway(model_directory, max_worker_processes="1") as cluster:
        error, seconds = refusal(make_database(cluster))
        assert seconds < 5
        assert error.sqlstate == "53000"
        assert "max_worker_processes" in error.diag.message_hint
