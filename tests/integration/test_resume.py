"""A job that was cut short goes on from its last checkpoint, and ends as if nothing had happened."""

from __future__ import annotations

import os
import signal

import pytest
from tests.cluster import make_database, throwaway, wait_until
from tests.integration.jobs import REVIEWS, make_role, refusal, tune_reviews, wait_for

SAVED = 30
TRAINING = {
    "max_steps": 200,
    "learning_rate": 0.005,
    "logging_steps": 10,
    "eval_strategy": "no",
    "save_strategy": "steps",
    "save_steps": SAVED,
}
NOT_NOW = "55000"
UNDEFINED = "42704"
RESUMABLE = "SELECT resumable FROM pgml.jobs WHERE model_id = %s"


@pytest.fixture(scope="module")
def resuming(model_directory):
    """A database of a cluster that these tests may hurt."""
    with throwaway(model_directory, shared_preload_libraries="pgml") as cluster:
        database = make_database(cluster)
        database.run(REVIEWS)
        yield database


@pytest.fixture(scope="module")
def undisturbed(resuming):
    """The job that the others have to be like."""
    with resuming.connect() as connection:
        model_id = tune_reviews(connection, "undisturbed", hyperparams={"training_args": TRAINING}).model_id
    return made(resuming, model_id)


def made(database, model_id):
    """What a job leaves: its files and the losses it logged."""
    files = "SELECT path, sha256 FROM pgml.files WHERE model_id = %s AND part = 0 ORDER BY path"
    losses = "SELECT logs->'step', logs->'loss' FROM pgml.logs WHERE model_id = %s AND logs ? 'loss' ORDER BY id"
    return database.run(files, model_id), database.run(losses, model_id)


def begin(database, project):
    """Start a job that nobody waits for, and let it get past a checkpoint."""
    with database.connect() as connection:
        model_id = tune_reviews(connection, project, wait=False, hyperparams={"training_args": TRAINING}).model_id
    wait_until_logged(database, model_id, str(SAVED + 10))
    return model_id


def wait_until_logged(database, model_id, step):
    with database.connect() as connection:
        logged = f"SELECT max((logs->>'step')::int) >= {step} FROM pgml.models m JOIN pgml.logs l ON l.model_id = m.id"
        logged += " WHERE m.id = %s GROUP BY resumed_at_step"
        wait_until(lambda: (connection.execute(logged, [model_id]).fetchone() or [False])[0], "its logs", 60)


def resume(database, model_id, wait="true"):
    return database.value(f"SELECT status FROM pgml.resume(%s, wait => {wait})", model_id)


def job_directories(database):
    return list((database.cluster.data / "pgml/jobs").glob("*/*/"))


@pytest.fixture(scope="module")
def hurt_twice(resuming):
    """A job whose trainer was killed, and which the server took down with it when it was resumed."""
    model_id = begin(resuming, "hurt twice")
    assert not resuming.value(RESUMABLE, model_id)  # it runs
    (trainer,) = resuming.cluster.python_processes("pgml.runtime.train")
    os.kill(trainer, signal.SIGKILL)
    job = wait_for(resuming, model_id, "failed")
    assert (job.resumable, "signal 9" in job.error) == (True, True)

    assert resume(resuming, model_id, wait="false") in ("queued", "in_progress")
    with resuming.connect() as connection:  # one at a time
        assert refusal(connection, "SELECT pgml.resume(%s)", model_id).sqlstate == NOT_NOW
    wait_until_logged(resuming, model_id, "resumed_at_step + 30")
    resuming.cluster.crash()
    resuming.cluster.start()
    assert wait_for(resuming, model_id, "failed").resumable
    return model_id


def test_a_job_goes_on_after_each_crash_and_gives_the_same_model(resuming, undisturbed, hurt_twice):
    assert resume(resuming, hurt_twice) == "successful"
    assert made(resuming, hurt_twice) == undisturbed  # and no step is logged twice
    step, error = resuming.run("SELECT resumed_at_step, error FROM pgml.models WHERE id = %s", hurt_twice)[0]
    assert (step >= SAVED, error) == (True, None)
    assert resuming.value("SELECT pgml.predict('hurt twice', 'wonderful film, a joy')->>'label'") == "good"


@pytest.fixture(scope="module")
def cancelled(resuming):
    model_id = begin(resuming, "cancelled")
    assert resuming.value("SELECT pgml.cancel(%s)", model_id)
    assert wait_for(resuming, model_id, "cancelled").resumable
    return model_id


def test_another_role_cannot_resume_a_job(resuming, cancelled):
    make_role(resuming, "stranger")
    with resuming.connect("stranger") as connection:
        assert refusal(connection, "SELECT pgml.resume(%s)", cancelled).sqlstate == UNDEFINED


def test_a_cancelled_job_goes_on_and_leaves_nothing(resuming, cancelled, undisturbed):
    assert resume(resuming, cancelled, wait="false") in ("queued", "in_progress")
    wait_for(resuming, cancelled, "successful")
    assert made(resuming, cancelled) == undisturbed
    assert resuming.run("SELECT model_id FROM pgml.deployments WHERE model_id = %s", cancelled) == [(cancelled,)]
    wait_until(lambda: not job_directories(resuming), "the directories of the jobs to go")


def test_what_cannot_be_resumed(resuming, undisturbed):
    successful = resuming.value("SELECT min(id) FROM pgml.models WHERE status = 'successful'")
    with resuming.connect() as connection:
        said = refusal(connection, "SELECT pgml.resume(%s)", successful)
        assert (said.sqlstate, "successful" in said.message_primary) == (NOT_NOW, True)
        assert refusal(connection, "SELECT pgml.resume(4711)").sqlstate == UNDEFINED
        hyperparams = {"training_args": TRAINING | {"save_strategy": "no"}}
        unsaved = tune_reviews(connection, "unsaved", wait=False, hyperparams=hyperparams).model_id
        connection.execute("SELECT pgml.cancel(%s)", [unsaved])
        assert not wait_for(resuming, unsaved, "cancelled").resumable
        said = refusal(connection, "SELECT pgml.resume(%s)", unsaved)
    assert (said.sqlstate, "checkpoint" in said.message_detail) == (NOT_NOW, True)
    assert "pgml.tune" in said.message_hint


def test_a_job_goes_when_its_time_is_over(resuming):
    model_id = begin(resuming, "old")
    resuming.run("SELECT pgml.cancel(%s)", model_id)
    assert wait_for(resuming, model_id, "cancelled").resumable
    resuming.run("ALTER SYSTEM SET pgml.resume_window = 0")
    resuming.cluster.reload()
    wait_until(lambda: not job_directories(resuming), "the directory of the job to go")
    assert not resuming.value(RESUMABLE, model_id)
    with resuming.connect() as connection:
        said = refusal(connection, "SELECT pgml.resume(%s)", model_id)
    assert (said.sqlstate, "pgml.resume_window" in said.message_detail) == (NOT_NOW, True)
