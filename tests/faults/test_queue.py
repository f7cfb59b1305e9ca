"""More jobs than may run, and more than the server has workers for."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest
from tests.cluster import wait_until
from tests.faults.tuning import nothing_left


def test_a_second_job_is_queued_says_so_and_runs_after(tune, interpreter):
    with interpreter.fake_trainer():
        first = tune(project="first")
        first.trains()
    with interpreter.fake_trainer("--steps 3"):
        second = tune(project="second")
        assert "queued" in second.heard("pgml.max_jobs")
        assert (second.status, second.row("started_at")[0]) == ("queued", None)
        assert first.status == "in_progress"
        assert len(first.trainers()) == 1
        first.connection.cancel_safe(timeout=5)
        second.end(20)
    assert second.result[0] == "successful"
    assert first.status == "cancelled"
    started, finished = second.row("started_at")[0], first.row("finished_at")[0]
    assert started >= finished


@pytest.mark.parametrize("how", ["statement", "function"])
def test_a_queued_job_can_be_canceled(tune, database, fake_trainer, how):
    first = tune(project="first")
    first.trains()
    second = tune(project="second")
    second.heard("pgml.max_jobs")
    if how == "statement":
        second.connection.cancel_safe(timeout=5)
    else:
        assert database.value("SELECT pgml.cancel(%s)", second.model_id) is True
    second.end(2)
    assert second.error.sqlstate == "57014"
    second.reaches("cancelled", 2)
    assert first.status == "in_progress"


def test_two_may_run_at_once(tune, fake_trainer, cluster_settings):
    first = tune(project="first")
    first.trains()
    second = tune(project="second")
    second.heard("pgml.max_jobs")
    cluster_settings("pgml.max_jobs", 2)  # a waiting job hears of it
    second.reaches("in_progress", 5)
    wait_until(lambda: len(first.trainers()) == 2, "two trainers")


def test_without_waiting(tune, database, interpreter):
    with interpreter.fake_trainer():
        first = tune(project="first")
        first.trains()
    with interpreter.fake_trainer("--steps 3"):
        second = tune(project="second", more=", wait => false")
        second.end()
        assert second.result[0] == "queued"
        second.connection.close()
        os.kill(first.trainers()[0], signal.SIGKILL)
        second.reaches("successful", 20)
    # Nobody waited, so the job deployed its model itself.
    assert database.value("SELECT model_id FROM pgml.deployments") == second.model_id
    nothing_left(database)


def test_all_background_workers_are_taken(tune, database, fake_trainer):
    """Twelve, of which the logical replication launcher and the supervisor have one each."""
    crowd = [tune(project="crowd0")]
    crowd[0].trains()
    for i in range(1, 11):
        crowd.append(tune(project=f"crowd{i}"))
        if i < 10:
            crowd[-1].heard("pgml.max_jobs")
    late = crowd.pop()
    late.heard("max_worker_processes")
    assert late.waits
    late.connection.cancel_safe(timeout=5)
    late.end(2)
    assert late.error.sqlstate == "57014"
    another = tune(project="another")
    another.heard("max_worker_processes")
    crowd[-1].connection.cancel_safe(timeout=5)
    another.heard("pgml.max_jobs")  # a worker became free
    for tuning in [another, *reversed(crowd)]:
        with contextlib.suppress(Exception):
            tuning.connection.cancel_safe(timeout=5)
    for tuning in [another, *crowd]:
        tuning.end(5)
    nothing_left(database)
