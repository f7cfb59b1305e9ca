"""Tuning from Python: what it gives, shows and survives; and the functions around it."""

from __future__ import annotations

import os
import signal
import threading

import psycopg
import pytest
from tests.cluster import wait_until
from tests.integration.jobs import LONG, REVIEWS, REVIEWS_JOB, wait_for
from tests.integration.sdk import url_of
from tests.integration.test_tune_conversation import JOB as TALKS_JOB
from tests.integration.test_tune_conversation import ROWS

import pgml
from pgml.connections import Connections

SHORT = {"training_args": {"num_train_epochs": 20, "eval_strategy": "no"}}  # a few seconds


@pytest.fixture(scope="module")
def url(shared):
    shared.run(REVIEWS)
    return url_of(shared)


@pytest.fixture(scope="module")
def tuned(url):
    return pgml.tune("tuned", **REVIEWS_JOB, test_size=0.2, test_sampling="random", database_url=url, progress=False)


def in_background(action):
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def statuses(url) -> dict[str, str]:
    return {job["project"]: job["status"] for job in pgml.jobs(database_url=url)}


def test_the_row_of_a_finished_job(shared, tuned):
    assert isinstance(tuned, pgml.TunedModel)
    assert (tuned.status, tuned.task, tuned.deployed) == ("successful", "text_classification", True)
    assert tuned.metrics == shared.value("SELECT metrics FROM pgml.models WHERE id = %s", tuned.model_id)
    job = shared.run(
        "SELECT test_size, test_sampling, test_rows FROM pgml.snapshots s JOIN pgml.models m ON m.snapshot_id = s.id "
        "WHERE m.id = %s",
        tuned.model_id,
    )
    assert job == [(pytest.approx(0.2), "random", 16)]


def test_predicting(url, tuned):
    one = pgml.predict("tuned", "wonderful film, a joy", database_url=url)
    assert one["label"] == "good"
    many = pgml.predict("tuned", ["wonderful film, a joy", None, "terrible waste, no sense"], database_url=url)
    assert [answer and answer["label"] for answer in many] == ["good", None, "bad"]
    assert pgml.transform({"model": "tuned"}, ["wonderful film, a joy"], database_url=url) == [one]
    pairs = [{"text": "a", "text_pair": "b"}, None]
    shaped = pgml.transform({"task": "text-classification", "model": "bert-classifier"}, pairs, database_url=url)
    assert shaped[0].keys() == {"label", "score"}
    assert shaped[1] is None
    options = {"top_k": 2}
    ranked = pgml.transform({"model": "tuned"}, ["wonderful"], options, database_url=url)[0]
    assert [answer["label"] for answer in ranked] in (["good", "bad"], ["bad", "good"])


def test_a_chat_model_and_what_a_person_sees_of_it(url, shared, capsys):
    shared.run(ROWS)
    pgml.tune("colours", **TALKS_JOB, database_url=url)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "NOTICE: reading the rows of" in shown.err
    assert "epoch 2: " in shown.err
    assert "loss " in shown.err
    assert "wanted: It is " in shown.err  # sampled answers of an evaluation
    config = {"max_tokens": 6, "temperature": 0}
    one = pgml.generate("colours", "What colour is number 3?", config, database_url=url)
    assert isinstance(one, str)
    many = ["What colour is number 3?", None]
    assert pgml.generate("colours", many, config, database_url=url) == [one, None]
    with pgml.OpenSourceAI(url) as client:
        question = [{"role": "user", "content": many[0]}]
        completion = client.chat_completions_create("colours", question, **config)
    assert completion["choices"][0]["message"]["content"] == one


def test_errors_are_those_of_the_server(url):
    with pytest.raises(psycopg.errors.UndefinedObject, match="nothing"):
        pgml.predict("nothing", "x", database_url=url)
    with pytest.raises(psycopg.errors.UndefinedTable):
        pgml.tune("bad", **REVIEWS_JOB | {"relation_name": "nowhere"}, database_url=url, progress=False)
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        pgml.tune("bad", **REVIEWS_JOB, test_sampling="first", database_url=url, progress=False)


def test_jobs_and_metrics(url, tuned, monkeypatch):
    (job,) = [job for job in pgml.jobs(database_url=url) if job["model_id"] == tuned.model_id]
    assert job["status"] == "successful"
    assert job["step"] == job["max_steps"]
    table = pgml.metrics(tuned.model_id, database_url=url)
    assert {"created_at", "step", "loss"} <= set(table.columns)
    monkeypatch.setattr("pgml.queries.find_spec", lambda name: None)  # as without pandas
    rows = pgml.metrics(tuned.model_id, database_url=url)
    assert isinstance(rows, list)
    assert [row["step"] for row in rows] == list(table["step"])
    with pytest.raises(ValueError, match="model 999999 does not exist"):
        pgml.metrics(999999, database_url=url)


def test_not_waiting(url, shared):
    started = pgml.tune("later", **REVIEWS_JOB | {"hyperparams": LONG}, wait=False, database_url=url, progress=False)
    assert started.status in ("queued", "in_progress")
    assert not started.deployed
    assert shared.value("SELECT pgml.cancel(%s)", started.model_id)
    wait_for(shared, started.model_id, "cancelled")


def test_a_lost_connection_does_not_end_it(url, shared):
    def disconnect():
        wait_until(lambda: statuses(url).get("lost") == "in_progress", "the job to run")
        shared.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgml' "
            "AND datname = current_database()"
        )

    thread = in_background(disconnect)
    done = pgml.tune("lost", **REVIEWS_JOB | {"hyperparams": SHORT}, database_url=url, progress=False)
    thread.join()
    assert done.status == "successful"


def test_a_job_that_somebody_else_cancels(url, shared):
    def cancel():
        job = wait_until(
            lambda: [j for j in pgml.jobs(database_url=url) if (j["project"], j["status"]) == ("other", "in_progress")],
            "the job to run",
        )
        shared.run("SELECT pgml.cancel(%s)", job[0]["model_id"])

    thread = in_background(cancel)
    with pytest.raises(psycopg.errors.QueryCanceled):
        pgml.tune("other", **REVIEWS_JOB | {"hyperparams": LONG}, database_url=url, progress=False)
    thread.join()


def test_ctrl_c_cancels_the_job(url):
    def interrupt():
        wait_until(lambda: statuses(url).get("interrupted") == "in_progress", "the job to run")
        os.kill(os.getpid(), signal.SIGINT)

    thread = in_background(interrupt)
    with pytest.raises(KeyboardInterrupt):
        pgml.tune("interrupted", **REVIEWS_JOB | {"hyperparams": LONG}, database_url=url, progress=False)
    thread.join()
    # The statement is over at once; the job, when its trainer is.
    wait_until(lambda: statuses(url)["interrupted"] == "cancelled", "the job to end")


def test_an_interrupt_leaves_no_connection_behind(url, monkeypatch):
    """One that comes while a kept connection is tried out: it belongs to nobody then."""
    connections = Connections(url)
    with connections.connection() as kept:
        pass

    def interrupted(_query):
        raise KeyboardInterrupt

    monkeypatch.setattr(kept, "execute", interrupted)
    with pytest.raises(KeyboardInterrupt), connections.connection():
        pass
    assert kept.closed
    with connections.connection() as other:
        assert other.execute("SELECT 1").fetchone() == (1,)
    connections.close()
