"""A job is stopped: by whom, how fast, in which phase, and what stays."""

from __future__ import annotations

import time

import psycopg
import pytest
from tests.cluster import wait_until
from tests.faults.tuning import SOON, nothing_left

CANCELED = "57014"


def assert_cancelled(tuning, since, seconds=SOON):
    """The job is recorded as cancelled in time, nothing of it runs, and its logs are there."""
    wait_until(lambda: tuning.status == "cancelled", f"cancelled, not {tuning.row('status', 'error')}", seconds)
    taken = time.monotonic() - since
    assert taken < seconds
    error, sqlstate, finished_at = tuning.row("error", "sqlstate", "finished_at")
    assert (sqlstate, finished_at is not None) == (CANCELED, True)
    assert "cancel" in error
    nothing_left(tuning.database)


def cancel_by_client(tuning):
    tuning.connection.cancel_safe(timeout=5)


def cancel_by_function(tuning):
    assert tuning.database.value("SELECT pgml.cancel(%s)", tuning.model_id) is True


def cancel_backend(tuning):
    assert tuning.database.value("SELECT pg_cancel_backend(%s)", tuning.backend) is True


def cancel_worker(tuning):
    assert tuning.database.value("SELECT pg_cancel_backend(%s)", tuning.worker()) is True


@pytest.mark.parametrize("cancel", [cancel_by_client, cancel_backend, cancel_by_function, cancel_worker])
def test_a_cancel_stops_the_job_and_keeps_its_logs(tune, fake_trainer, cancel):
    tuning = tune()
    tuning.trains()
    since = time.monotonic()
    cancel(tuning)
    tuning.end(SOON)
    assert tuning.error.sqlstate == CANCELED
    assert_cancelled(tuning, since)
    assert tuning.log_rows() > 0


def test_the_statement_is_over_at_once_and_not_when_the_trainer_is(tune, interpreter):
    with interpreter.trainer("trap '' TERM; sleep 1000 & while :; do sleep 1; done"):
        tuning = tune()
        wait_until(tuning.trainers, "the trainer")
        tuning.reaches("in_progress")
        since = time.monotonic()
        tuning.connection.cancel_safe(timeout=5)
        tuning.end(1)
        assert tuning.error.sqlstate == CANCELED
        # What does not listen is killed with all that it started.
        assert_cancelled(tuning, since, SOON + 0.5)
    assert not [command for _, command in tuning.database.cluster.processes() if "sleep 1000" in command]


def test_statement_timeout(tune, fake_trainer, database):
    tuning = tune(settings="SET statement_timeout = '3s'")
    tuning.trains()
    tuning.end(5)
    since = time.monotonic()
    assert tuning.error.sqlstate == CANCELED
    assert "statement timeout" in str(tuning.error)
    assert_cancelled(tuning, since)
    assert tuning.log_rows() > 0


def test_the_session_goes_on_after_a_cancel(tune, fake_trainer):
    tuning = tune()
    tuning.trains()
    tuning.connection.cancel_safe(timeout=5)
    tuning.end(SOON)
    assert tuning.connection.execute("SELECT 1").fetchone() == (1,)
    label = (
        'SELECT pgml.transform(\'{"task": "text-classification", "model": "bert-classifier"}\', \'{}\', ARRAY[\'a\'])'
    )
    assert tuning.connection.execute(label).fetchone()[0][0]["label"]


def test_a_real_training_is_canceled_within_a_step(tune):
    tuning = tune()
    tuning.trains()
    since = time.monotonic()
    tuning.connection.cancel_safe(timeout=5)
    tuning.end(1)
    assert tuning.error.sqlstate == CANCELED
    assert_cancelled(tuning, since)
    assert tuning.log_rows() > 0


def test_while_the_trainer_imports_torch(tune):
    tuning = tune()
    wait_until(tuning.trainers, "the trainer")
    tuning.reaches("in_progress")
    since = time.monotonic()
    tuning.connection.cancel_safe(timeout=5)
    tuning.end(1)
    assert_cancelled(tuning, since, SOON + 0.5)


def test_while_the_model_is_loaded(tune):
    tuning = tune()
    tuning.heard("loading the base model", 60)
    since = time.monotonic()
    tuning.connection.cancel_safe(timeout=5)
    tuning.end(1)
    assert tuning.error.sqlstate == CANCELED
    assert_cancelled(tuning, since)


def test_while_rows_are_read(tune, database):
    database.run("CREATE VIEW slow AS SELECT id, body || pg_sleep(0.2)::text AS body, verdict FROM reviews")
    tuning = tune(relation="slow")
    tuning.heard("reading the rows")
    tuning.connection.cancel_safe(timeout=5)
    tuning.end(1)
    assert tuning.error.sqlstate == CANCELED
    # Nothing was started, so there is nothing to remember.
    assert database.value("SELECT count(*) FROM pgml.models") == 0
    nothing_left(database)


def test_during_an_evaluation(tune, database):
    database.run("CREATE TABLE many AS SELECT r.* FROM reviews r, generate_series(1, 20)")
    tuning = tune(
        relation="many",
        more=", test_size => 0.9",
        eval_strategy="steps",
        eval_steps=1,
        per_device_eval_batch_size=1,
        load_best_model_at_end=False,
    )
    wait_until(lambda: tuning.row("step")[0], "the first step", 60)
    time.sleep(0.3)  # the evaluation after it takes seconds
    since = time.monotonic()
    tuning.connection.cancel_safe(timeout=5)
    tuning.end(1)
    assert tuning.error.sqlstate == CANCELED
    assert_cancelled(tuning, since)


SLOW_FILES = """
CREATE FUNCTION public.slowly() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.5); RETURN NEW; END';
CREATE TRIGGER slowly BEFORE INSERT ON pgml.files FOR EACH ROW EXECUTE FUNCTION public.slowly();
"""


def test_while_files_are_stored(tune, database, interpreter):
    database.run(SLOW_FILES)
    with interpreter.fake_trainer("--steps 2 --parts 100"):
        tuning = tune()
        tuning.heard("step 2/2")
        storing = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pgml job' AND wait_event = 'PgSleep'"
        wait_until(lambda: database.value(storing), "the first part")
        since = time.monotonic()
        tuning.connection.cancel_safe(timeout=5)
        tuning.end(1)
        assert tuning.error.sqlstate == CANCELED
        assert_cancelled(tuning, since)
    # All files of a model, or none.
    assert database.value("SELECT count(*) FROM pgml.files") == 0


def test_while_its_worker_waits_for_a_lock(tune, database, interpreter):
    with interpreter.fake_trainer("--steps 2"), database.connect() as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE pgml.files IN EXCLUSIVE MODE")
        tuning = tune()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pgml job' AND wait_event_type = 'Lock'"
        wait_until(lambda: database.value(waiting), "the worker to wait")
        since = time.monotonic()
        tuning.connection.cancel_safe(timeout=5)
        tuning.end(1)
        assert tuning.error.sqlstate == CANCELED
        assert_cancelled(tuning, since)
        other.execute("ROLLBACK")


def test_a_caller_that_locks_the_registry_gets_an_error_and_no_deadlock(database, fake_trainer, tune):
    tuning = tune(settings="BEGIN; LOCK TABLE pgml.models IN ACCESS EXCLUSIVE MODE")
    tuning.end(15)
    assert tuning.error.sqlstate == "55P03"
    tuning.connection.execute("ROLLBACK")
    nothing_left(database)


def test_a_job_that_nobody_waits_for(database, fake_trainer, tune):
    tuning = tune(more=", wait => false")
    tuning.end()
    status, _, _, deployed, model_id, metrics = tuning.result
    assert (status in {"queued", "in_progress"}, deployed, metrics) == (True, False, None)
    wait_until(tuning.log_rows, "logs")
    since = time.monotonic()
    assert database.value("SELECT pgml.cancel(%s)", model_id) is True
    assert_cancelled(tuning, since)
    assert tuning.log_rows() > 0
    assert database.value("SELECT pgml.cancel(%s)", model_id) is False


def test_cancel_of_what_is_not_running(database, interpreter, tune):
    with interpreter.fake_trainer("--steps 2"):
        tuning = tune()
        tuning.end()
    assert tuning.result[0] == "successful"
    assert database.value("SELECT pgml.cancel(%s)", tuning.model_id) is False
    with pytest.raises(psycopg.Error, match="model 4711 does not exist") as caught:
        database.run("SELECT pgml.cancel(4711)")
    assert caught.value.sqlstate == "42704"
    assert caught.value.diag.message_hint


def test_cancel_needs_the_project(database, fake_trainer, tune):
    database.run("DROP ROLE IF EXISTS stranger")
    database.run("CREATE ROLE stranger LOGIN")
    tuning = tune()
    tuning.trains()
    with pytest.raises(psycopg.Error, match="does not exist") as caught:
        database.run("SELECT pgml.cancel(%s)", tuning.model_id, user="stranger")
    assert caught.value.sqlstate == "42704"
    assert tuning.waits
    assert tuning.status == "in_progress"
