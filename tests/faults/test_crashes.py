"""The server ends while a job runs: no process stays, and the job is recorded as failed."""

from __future__ import annotations

import os
import signal

import psycopg
import pytest
from tests.cluster import throwaway, wait_until
from tests.faults.tuning import nothing_left

CLASSIFY = (
    """SELECT pgml.transform('{"task": "text-classification", "model": "bert-classifier"}', '{}', ARRAY['a film'])"""
)
RECORDED = "SELECT status, error, sqlstate, finished_at IS NOT NULL FROM pgml.models"
SEEN = "SELECT status, error FROM pgml.jobs"


@pytest.fixture(scope="module", params=["on first use", "preloaded"])
def preloaded(request):
    """How the supervisor starts."""
    return request.param == "preloaded"


@pytest.fixture(scope="module")
def cluster(model_directory, interpreter, preloaded):
    """With or without preload."""
    settings = {"pgml.python": str(interpreter.path), "restart_after_crash": "on"}
    if preloaded:
        settings["shared_preload_libraries"] = "pgml"
    with throwaway(model_directory, **settings) as cluster:
        yield cluster


@pytest.fixture
def job(tune, fake_trainer, database):
    """A job with logs."""
    tuning = tune()
    tuning.trains()
    return tuning


def is_recorded(database, preloaded):
    """Wait until the registry says how the job ended; without preload, the first use of the runtime sees to it."""
    # The worker that records a lost job has its lock, and for that moment the job shows as it was.
    wait_until(lambda: database.run(SEEN)[0][0] == "failed", "the job to show as failed", 5)
    assert database.run(SEEN)[0][1]
    if not preloaded:
        database.run(CLASSIFY)
    wait_until(lambda: database.run(RECORDED)[0][0] == "failed", "the job to be recorded", 10)
    _, error, sqlstate, finished = database.run(RECORDED)[0]
    assert error
    assert sqlstate
    assert finished
    assert database.value("SELECT count(*) FROM pgml.logs") > 0
    nothing_left(database, 10)
    return error


def test_a_killed_postmaster_leaves_no_process(cluster, database, job, preloaded):
    cluster.crash()  # waits for all of them
    job.end()
    assert isinstance(job.error, psycopg.OperationalError)
    cluster.start()
    assert "while the job was running" in is_recorded(database, preloaded)
    assert database.value(CLASSIFY)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart(cluster, database, job, preloaded, mode):
    before = {pid for pid, _ in cluster.processes()}
    cluster.stop(mode)
    wait_until(lambda: not before & {pid for pid, _ in cluster.processes()}, "all processes to end", 3)
    cluster.start()
    job.end()
    assert job.error is not None
    error = is_recorded(database, preloaded)
    assert ("shuts down" if mode == "fast" else "while the job was running") in error


def test_a_smart_stop_waits_for_sessions_and_not_for_jobs(cluster, database, tune, fake_trainer, preloaded):
    tuning = tune(more=", wait => false")
    tuning.end()
    wait_until(tuning.log_rows, "logs")
    tuning.connection.close()
    cluster.stop("smart")
    assert not cluster.processes()
    cluster.start()
    assert "shuts down" in is_recorded(database, preloaded)


def test_a_backend_is_killed(cluster, database, job, preloaded):
    """PostgreSQL then ends all its processes and recovers."""
    server = cluster.python_processes("pgml.runtime.serve")
    with database.connect() as other:
        os.kill(other.info.backend_pid, signal.SIGKILL)
        job.end(10)
    wait_until(lambda: is_up(database), "the recovery")
    wait_until(lambda: not set(server) & set(cluster.python_processes()), "the server process to end", 5)
    error = is_recorded(database, preloaded)
    assert "while the job was running" in error
    assert database.value(CLASSIFY)


def test_a_job_worker_is_terminated(cluster, database, job):
    database.run("SELECT pg_terminate_backend(%s)", job.worker())
    job.end(5)
    assert job.error.sqlstate == "57P01"
    assert (job.status, job.row("sqlstate")[0]) == ("failed", "57P01")
    nothing_left(database)
    assert "terminating any other active" not in cluster.log_text().rsplit("ready to accept connections", 1)[-1]


def test_a_job_that_was_queued(cluster, database, job, tune, preloaded):
    second = tune(project="second")
    second.heard("pgml.max_jobs")
    cluster.crash()
    cluster.start()
    wait_until(
        lambda: database.run("SELECT DISTINCT status FROM pgml.jobs") == [("failed",)], "both to show as failed", 5
    )
    if not preloaded:
        database.run(CLASSIFY)
    wait_until(lambda: database.run("SELECT DISTINCT status FROM pgml.models") == [("failed",)], "both", 10)
    nothing_left(database, 10)


def is_up(database):
    try:
        return database.value("SELECT true")
    except psycopg.OperationalError:
        return False
