"""Who may create the extension, and that nothing holds on to it or to its database."""

from __future__ import annotations

import psycopg
import pytest
from tests.cluster import Database, make_database, numbers, wait_until
from tests.integration.jobs import LONG, REVIEWS, make_role, refusal, tune_reviews, wait_for

JUDGED = """
CREATE VIEW judged AS
SELECT pgml.transform('{"model": "bert-classifier"}'::jsonb, inputs => ARRAY['a joy']) AS verdict
"""
pytestmark = pytest.mark.private_cluster("it looks at the processes of the server")


@pytest.fixture
def doomed(cluster):
    """A database with the extension and with views that depend on it; the test drops it."""
    database = make_database(cluster)
    database.run(REVIEWS)
    database.run(JUDGED)
    database.run("CREATE VIEW losses AS SELECT model_id, logs->'loss' AS loss FROM pgml.logs")
    yield database
    with cluster.connect() as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)")


def databases(cluster) -> set[str]:
    with cluster.connect() as connection:
        return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}


def test_the_owner_of_a_database_is_told_who_may_create_the_extension(cluster):
    database = Database(cluster, f"owned_{next(numbers)}")
    with cluster.connect() as connection:
        make_role(Database(cluster, "postgres"), "landlord")
        connection.execute(f"CREATE DATABASE {database.name} OWNER landlord")
    with database.connect("landlord") as connection:
        said = refusal(connection, "CREATE EXTENSION pgml")
    assert said.message_primary == 'permission denied to create extension "pgml"'
    assert said.message_hint == "Must be superuser to create this extension."
    database.run("CREATE EXTENSION pgml")
    assert database.value("SELECT count(*) FROM pgml.jobs", user="landlord") == 0
    with cluster.connect() as connection:
        connection.execute(f"DROP DATABASE {database.name}")


def test_a_database_can_be_dropped_right_after_it_was_used(doomed):
    assert "label" in doomed.value("SELECT verdict FROM judged")[0]
    with doomed.cluster.connect() as connection:
        connection.execute(f"DROP DATABASE {doomed.name}")  # without FORCE
    assert doomed.name not in databases(doomed.cluster)


def test_a_job_holds_its_database_until_it_is_cancelled(doomed):
    with doomed.connect() as connection:
        model_id = tune_reviews(connection, "slow", hyperparams=LONG, wait=False).model_id
    wait_for(doomed, model_id, "in_progress")
    with doomed.cluster.connect() as connection, pytest.raises(psycopg.errors.ObjectInUse):
        connection.execute(f"DROP DATABASE {doomed.name}")
    doomed.run("SELECT pgml.cancel(%s)", model_id)
    wait_for(doomed, model_id, "cancelled")
    with doomed.cluster.connect() as connection:
        connection.execute(f"DROP DATABASE {doomed.name}")


def test_a_forced_drop_ends_the_jobs(doomed):
    with doomed.connect() as connection:
        model_id = tune_reviews(connection, "slow", hyperparams=LONG, wait=False).model_id
    wait_for(doomed, model_id, "in_progress")
    with doomed.cluster.connect() as connection:
        connection.execute(f"DROP DATABASE {doomed.name} WITH (FORCE)")
    wait_until(lambda: not doomed.cluster.python_processes("pgml.runtime.train"), "the trainer to end")


def test_drop_extension_needs_cascade_for_views_of_users(doomed):
    with doomed.connect() as connection:
        said = refusal(connection, "DROP EXTENSION pgml")
    assert said.message_primary == "cannot drop extension pgml because other objects depend on it"
    assert "view judged depends on function pgml.transform(jsonb,jsonb,text[],boolean)" in said.message_detail
    doomed.run("DROP EXTENSION pgml CASCADE")
    assert doomed.value("SELECT count(*) FROM pg_views WHERE viewname IN ('judged', 'losses')") == 0
    assert doomed.value("SELECT count(*) FROM reviews") == 80
    doomed.run("CREATE EXTENSION pgml")
    assert doomed.value("SELECT count(*) FROM pgml.models") == 0


def test_drop_extension_ends_a_running_job(doomed):
    with doomed.connect() as connection:
        model_id = tune_reviews(connection, "slow", hyperparams=LONG, wait=False).model_id
    wait_until(lambda: doomed.value("SELECT step FROM pgml.jobs WHERE model_id = %s", model_id), "a step", 60)
    doomed.run("DROP EXTENSION pgml CASCADE")
    wait_until(lambda: not doomed.cluster.python_processes("pgml.runtime.train"), "the trainer to end")
    worker = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pgml job' AND datname = current_database()"
    wait_until(lambda: doomed.value(worker) == 0, "the worker to end")
    oid = doomed.value("SELECT oid FROM pg_database WHERE datname = current_database()")
    wait_until(lambda: not (doomed.cluster.data / f"pgml/jobs/{oid}/{model_id}").exists(), "its directory to go")
