"""What is particular to embedded mode: nothing starts, everything is the caller's transaction, and an end is clean."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from tests.cluster import Database, make_database, throwaway, wait_until
from tests.integration.jobs import LONG, QUICK, REVIEWS, REVIEWS_JOB, make_role, refusal, snapshot_of, tune_reviews
from tests.integration.sdk import url_of

import pgml

pytestmark = pytest.mark.private_cluster("the server needs PL/Python, and is watched from outside")

PREDICT = """SELECT pgml.transform('{"task": "text-classification", "model": "bert-classifier"}'::jsonb,
                                    inputs => ARRAY['a wonderful film'])"""
FOREIGN = """DO LANGUAGE plpython3u $$
import sys, types
sys.modules["numpy"] = types.ModuleType("numpy")
sys.modules["numpy"].__file__ = "/usr/numpy.py"
$$"""
CANCELED = "57014"
UNSUPPORTED = "0A000"
WRONG_STATE = "55000"


@pytest.fixture(scope="module")
def server(model_directory):
    """A cluster in which no process beside the backends is wanted."""
    with throwaway(model_directory, **{"pgml.runtime": "embedded"}) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def database(server) -> Database:
    database = make_database(server)
    database.run(REVIEWS)
    database.run("CREATE EXTENSION plpython3u")
    return database


@pytest.fixture(scope="module")
def session(database):
    """A session whose runtime is warm: importing torch takes seconds."""
    with database.connect() as session:
        session.execute(PREDICT)
        yield session


def counts(session: psycopg.Connection) -> list[int]:
    tables = ("projects", "models", "snapshots", "logs", "files", "deployments")
    return [session.execute(f"SELECT count(*) FROM pgml.{table}").fetchone()[0] for table in tables]


def unpacked(database: Database) -> list[str]:
    """The directories of models that backends of the cluster have."""
    return [path.name for path in (database.cluster.data / "pgml" / "embedded").iterdir()]


def jobs(database: Database) -> list[Path]:
    """The directories of jobs, wherever they are."""
    return [file for file in (database.cluster.data / "pgml").rglob("job.json") if file.is_file()]


def test_no_process_is_started(session, database):
    tune_reviews(session, "quiet")
    assert session.execute("SELECT pgml.predict('quiet', 'a joy')").fetchone()[0]["label"] in ("good", "bad")
    assert database.cluster.python_processes() == []
    assert not (database.cluster.data / "pgml" / "runtime.sock").exists()
    state, pid, python = session.execute("SELECT state, pid, python FROM pgml.runtime_status()").fetchone()
    assert (state, pid) == ("embedded", session.info.backend_pid)
    assert python.endswith("venv")
    assert session.execute("SELECT count(*) FROM pgml.loaded_models").fetchone()[0] >= 2


def test_a_rollback_takes_the_model_and_its_logs_along(session):
    before = counts(session)
    with session.transaction(force_rollback=True):
        row = tune_reviews(session, "undone")
        assert row.deployed
        assert session.execute("SELECT count(*) FROM pgml.logs WHERE model_id = %s", [row.model_id]).fetchone()[0] > 0
        assert session.execute("SELECT pgml.predict('undone', 'x')").fetchone()[0]
    assert counts(session) == before


def test_rows_of_the_own_transaction_are_learnt(session):
    with session.transaction(force_rollback=True):
        session.execute("DELETE FROM reviews WHERE id > 40")
        model_id = tune_reviews(session, "fewer").model_id
        assert snapshot_of(session, model_id).analysis["used"] == 40


def test_metrics_come_while_it_trains(session):
    heard = []
    handler = lambda said: heard.append((time.monotonic(), said.severity_nonlocalized))  # noqa: E731
    session.add_notice_handler(handler)
    try:
        tune_reviews(session, "live", hyperparams={"training_args": {"num_train_epochs": 40, "eval_strategy": "no"}})
    finally:
        session.remove_notice_handler(handler)
    end = time.monotonic()
    infos = [at for at, severity in heard if severity == "INFO"]
    assert len(infos) > 3
    assert end - infos[0] > 0.2


@pytest.mark.parametrize("how", ["timeout", "client", "other session"])
def test_a_cancel_ends_a_training_between_two_steps(session, database, how):
    before = counts(session)
    if how == "timeout":
        session.execute("SET statement_timeout = '1500ms'")
    elif how == "client":
        session.add_notice_handler(
            one_cancel := lambda said: session.cancel_safe() if "step" in said.message_primary else None
        )
    else:
        cancel = f"SELECT pg_cancel_backend({session.info.backend_pid})"
        session.add_notice_handler(
            one_cancel := lambda said: database.run(cancel) if "step" in said.message_primary else None
        )
    since = time.monotonic()
    try:
        with pytest.raises(psycopg.errors.QueryCanceled):
            tune_reviews(session, "endless", hyperparams=LONG)
    finally:
        session.execute("SET statement_timeout = 0")
        if how != "timeout":
            session.remove_notice_handler(one_cancel)
    assert time.monotonic() - since < 8
    assert counts(session) == before
    assert session.execute(PREDICT).fetchone()[0][0]["label"]
    assert not jobs(database)


def test_a_cancel_ends_the_work_before_the_first_step(session):
    """And leaves nothing of it running when the session goes on."""
    session.execute(
        "CREATE TABLE long AS SELECT repeat(text, 20) AS text, verdict FROM reviews, generate_series(1, 800)"
    )
    body = "'import threading; return threading.active_count()'"
    session.execute(f"CREATE FUNCTION threads() RETURNS int LANGUAGE plpython3u AS {body}")
    threads = session.execute("SELECT threads()").fetchone()
    session.add_notice_handler(
        one_cancel := lambda said: session.cancel_safe() if "tokenising" in said.message_primary else None
    )
    with pytest.raises(psycopg.errors.QueryCanceled):
        tune_reviews(session, "long", relation_name="long")
    session.remove_notice_handler(one_cancel)
    assert session.execute(PREDICT).fetchone()
    left = lambda: session.execute(PREDICT) and session.execute("SELECT threads()").fetchone()  # noqa: E731 short
    wait_until(lambda: left() == threads, "the thread to end")


def test_a_cancel_ends_an_answer(session):
    many = """SELECT pgml.transform('{"task": "text-classification", "model": "bert-classifier"}'::jsonb,
                                    inputs => array_agg(repeat('film ', 50) || i))
              FROM generate_series(1, 50000) AS i"""
    session.execute("SET statement_timeout = '1s'")
    since = time.monotonic()
    assert refusal(session, many).sqlstate == CANCELED
    session.execute("SET statement_timeout = 0")
    assert time.monotonic() - since < 4
    assert session.execute(PREDICT).fetchone()[0]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT pgml.resume(1)",
        "SELECT pgml.restart_runtime()",
        "SELECT pgml.tune('p', 'text-classification', 'reviews', 'verdict', 'bert', wait => false)",
    ],
)
def test_what_needs_a_process_says_so(session, query):
    said = refusal(session, query)
    assert said.sqlstate == UNSUPPORTED
    assert said.message_hint


def test_a_session_can_change_its_mode(session, database):
    tune_reviews(session, "both", hyperparams=QUICK)
    answers = []
    for mode in ("embedded", "shared", "embedded"):
        session.execute(f"SET pgml.runtime = '{mode}'")
        answers.append(session.execute("SELECT pgml.predict('both', 'a joy')").fetchone())
    assert answers[0] == answers[1] == answers[2]
    wait_until(database.cluster.python_processes, "the server process of shared mode")


def test_a_terminated_backend_takes_nothing_along(database):
    started = database.value("SELECT pg_postmaster_start_time()")
    victim = database.connect(options="-c log_disconnections=on")
    ready = []

    def terminate(said):
        if "step" in said.message_primary and not ready:
            ready.append(database.run("SELECT pg_terminate_backend(%s)", pid))

    pid = victim.info.backend_pid
    victim.add_notice_handler(terminate)
    with pytest.raises(psycopg.OperationalError):
        tune_reviews(victim, "terminated", hyperparams=LONG)
    assert ready
    query = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
    wait_until(lambda: database.value(query, pid) == 0, "the backend to end")
    assert database.value("SELECT pg_postmaster_start_time()") == started
    log = database.cluster.log_text()
    assert "terminated by signal" not in log
    assert "reinitializing" not in log
    assert "disconnection: session time" in log  # what PostgreSQL does at the end is done
    assert str(pid) not in unpacked(database)
    assert not jobs(database)


def test_the_client_waits_for_its_jobs(database, session):
    done = pgml.tune("of the client", **REVIEWS_JOB, database_url=url_of(database), progress=False)
    assert (done.status, done.deployed) == ("successful", True)
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="after its statement"):
        pgml.tune("of the client", **REVIEWS_JOB, wait=False, database_url=url_of(database))


def test_a_user_who_is_no_superuser_uses_it_but_does_not_choose_it(database):
    role = make_role(database, "guest")
    database.run(sql.SQL("GRANT USAGE ON SCHEMA pgml TO {}").format(sql.Identifier(role)))
    with database.connect(role) as guest:
        assert guest.execute(PREDICT).fetchone()[0]
        assert refusal(guest, "SET pgml.runtime = 'shared'").sqlstate == "42501"
        assert refusal(guest, "SET pgml.venv = '/tmp'").sqlstate == "42501"
        assert refusal(guest, "DO LANGUAGE plpython3u 'pass'").sqlstate == "42501"
        assert refusal(guest, "SELECT pgml.predict('quiet', 'x')").sqlstate in ("42501", "42704")


def test_without_pl_python_the_hint_says_what_to_do(server):
    database = make_database(server)
    with database.connect() as session:
        said = refusal(session, PREDICT)
    assert said.sqlstate == WRONG_STATE
    assert "plpython3u" in said.message_primary
    assert "CREATE EXTENSION plpython3u" in said.message_hint


@pytest.mark.parametrize(("venv", "sqlstate"), [("/nowhere", "58P01"), ("/usr", "58P01")])
def test_a_wrong_environment_is_told(database, venv, sqlstate):
    with database.connect() as session:
        session.execute("LOAD 'pgml'")
        session.execute(sql.SQL("SET pgml.venv = {}").format(venv))
        said = refusal(session, PREDICT)
        assert said.sqlstate == sqlstate
        assert venv in said.message_detail
        assert "pgml.venv" in said.message_hint


def test_packages_of_other_functions_are_no_part_of_it(database, tmp_path):
    with database.connect() as session:
        session.execute(FOREIGN)
        said = refusal(session, PREDICT)
        assert (said.sqlstate, "numpy" in said.message_primary) == (WRONG_STATE, True)
        assert "new connection" in said.message_hint


def test_settings_of_the_hub_hold_for_a_session(session):
    session.execute("SET pgml.hub_offline = off")
    try:
        said = refusal(session, "SELECT * FROM pgml.load_dataset('owner/name')")
        assert said.sqlstate == WRONG_STATE
        assert "new connection" in said.message_hint
    finally:
        session.execute("RESET pgml.hub_offline")


def test_a_dead_postmaster_ends_a_training(session, server):
    """The last test: it hurts the server that the others share."""

    def crash(said):
        if "step" in said.message_primary:
            server.crash()  # waits until all its processes are gone

    session.add_notice_handler(crash)
    with pytest.raises(psycopg.OperationalError):
        tune_reviews(session, "orphaned", hyperparams=LONG)
