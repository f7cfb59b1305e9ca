"""Tuning, predicting and chatting in a container, with real models, and what becomes of jobs when it stops."""

from __future__ import annotations

import re
import time

import pytest
from tests.cluster import wait_until
from tests.docker.containers import container, docker, read_only
from tests.integration.jobs import REVIEWS, label, tune, tune_reviews, wait_for

TAGS = {
    "task": "text-classification",
    "relation_name": "to_learn",
    "y_column_name": "tag",
    "model_name": "all-MiniLM-L6-v2",
    "hyperparams": {
        "training_args": {"learning_rate": 2e-4, "max_steps": 24, "eval_strategy": "no"},
        "tokenizer_args": {"max_length": 64},
    },
}
INTERRUPTED = {
    "training_args": {
        "max_steps": 400,
        "learning_rate": 0.005,
        "logging_steps": 10,
        "eval_strategy": "no",
        "save_strategy": "steps",
        "save_steps": 30,
    }
}


@pytest.fixture(scope="module")
def tagged(database):
    """The database with a classifier of its projects, tuned with the real MiniLM."""
    database.run(
        "CREATE VIEW to_learn AS SELECT title || '. ' || description AS text, tag FROM projects ORDER BY id LIMIT 500"
    )
    with database.connect() as connection:
        tuned = tune(connection, "tags", **TAGS)
    assert (tuned.status, tuned.deployed) == ("successful", True)
    assert tuned.metrics["accuracy"] > 0.6  # the largest of four tags has 0.4
    return database


def begin(database, project):
    """Start a job and let it get past a checkpoint."""
    with database.connect() as connection:
        model_id = tune_reviews(connection, project, wait=False, hyperparams=INTERRUPTED).model_id
        logged = "SELECT max((logs->>'step')::int) >= 40 FROM pgml.logs WHERE model_id = %s"
        wait_until(lambda: connection.execute(logged, [model_id]).fetchone()[0], "its logs", 60)
    return model_id


@pytest.fixture(scope="module")
def with_reviews(tagged):
    tagged.run(REVIEWS)
    return tagged


def prediction(database):
    return database.value("SELECT pgml.predict('tags', 'Detecting objects in images with convolutions')->>'label'")


def test_a_tuned_model_predicts(tagged):
    assert prediction(tagged) == "computer-vision"


def test_a_chat_model_answers(tagged):
    task = '{"task": "conversation", "model": "SmolLM2-135M-Instruct"}'
    query = "SELECT pgml.transform(%s::jsonb, %s::jsonb, ARRAY['What is the capital of France?'])->>0"
    assert "Paris" in tagged.value(query, task, '{"temperature": 0, "max_tokens": 20}')


def test_embedded_mode_answers_as_shared_mode(tagged):
    question = "SELECT pgml.predict('tags', 'Detecting objects in images with convolutions')"
    with tagged.connect() as session:
        session.execute("CREATE EXTENSION plpython3u")
        shared = session.execute(question).fetchone()
        session.execute("SET pgml.runtime = 'embedded'")
        assert session.execute(question).fetchone() == shared
        here = "SELECT state, pid = pg_backend_pid() FROM pgml.runtime_status()"
        assert session.execute(here).fetchone() == ("embedded", True)


@pytest.mark.parametrize("end", [("restart",), ("kill", "--signal", "KILL")], ids=["restart", "power cut"])
def test_a_job_that_loses_its_container_can_be_resumed(served, with_reviews, end):
    model_id = begin(with_reviews, f"lost by {end[0]}")
    docker(*end, served.name)
    if end[0] == "kill":
        wait_until(lambda: not served.running, "the container to end")
        docker("start", served.name)
    served.wait_until_healthy()
    job = wait_for(with_reviews, model_id, "failed")
    assert job.resumable, job.error
    assert prediction(with_reviews) == "computer-vision"
    assert with_reviews.value("SELECT status FROM pgml.resume(%s)", model_id) == "successful"
    step = with_reviews.value("SELECT resumed_at_step FROM pgml.models WHERE id = %s", model_id)
    assert step >= 30
    assert label(with_reviews, f"lost by {end[0]}", "wonderful film, a joy") == "good"


def test_stop_during_training_is_clean_and_quick_and_a_new_container_goes_on(
    served, with_reviews, data_volume, model_directory
):
    begin(with_reviews, "stopped")
    began = time.monotonic()
    docker("stop", "--time", "60", served.name)
    assert time.monotonic() - began < 15
    assert served.exit_status == 0
    assert served.logs().rstrip().endswith("database system is shut down")

    mounts = ("--volume", f"{model_directory}:/srv/models:ro", "--volume", f"{data_volume}:/var/lib/postgresql/data")
    with container(*mounts, *read_only(), command=("-c", "pgml.hub_offline=on")) as other:
        database = other.database()
        assert prediction(database) == "computer-vision"
        assert database.value("SELECT count(*) FROM pgml.jobs WHERE project = 'stopped' AND resumable") == 1
        with database.connect() as connection:
            assert tune_reviews(connection, "read only").status == "successful"
        with pytest.raises(AssertionError, match=r"[Rr]ead-only"):
            other.sh("touch /srv/file")
        assert not re.search("PANIC|Traceback", other.logs())
