"""`pg_dump` and back: registry, models, files and logs come along; the copy predicts and goes on as the original."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from tests.cluster import Cluster, Database, drop_database, numbers
from tests.integration.jobs import LONG, REVIEWS, label, make_role, tune_reviews, wait_for

TABLES = ("projects", "snapshots", "models", "deployments", "files", "logs")
OWNERS = ("erin", "frank")
PREDICT = "SELECT pgml.predict(%s, ARRAY['a joy', 'no sense', 'neither', NULL])"
pytestmark = pytest.mark.private_cluster("pg_dump and its fellows are of its installation")


@pytest.fixture(scope="module")
def source(shared) -> Database:
    """A database in which two roles tuned a model each."""
    for role in OWNERS:
        make_role(shared, role)
        shared.run(f"CREATE SCHEMA {role} AUTHORIZATION {role}")
        shared.run(f"SET search_path = {role}; {REVIEWS}", user=role)
        with shared.connect(role) as connection:
            assert tune_reviews(connection, f"of_{role}", relation_name=f"{role}.reviews").deployed
    return shared


@pytest.fixture
def target(cluster):
    """An empty database without the extension."""
    database = Database(cluster, f"restored_{next(numbers)}")
    with cluster.connect() as connection:
        connection.execute(f"CREATE DATABASE {database.name}")
    yield database
    drop_database(database)


def program(
    database: Database,
    name: str,
    *options: str,
    user: str = "postgres",
    given: bytes = b"",
    environment: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    command = [database.cluster.bin / name, "-h", database.cluster.root, "-U", user, "-d", database.name, *options]
    done = subprocess.run(command, input=given, check=False, capture_output=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def dump_and_restore(source: Database, target: Database, kind: str, tmp_path: Path) -> None:
    if kind == "plain":
        script = program(source, "pg_dump")
        program(target, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", given=script)
    elif kind == "custom":
        program(target, "pg_restore", "--exit-on-error", given=program(source, "pg_dump", "-Fc"))
    else:
        program(source, "pg_dump", "-Fd", "-j", "2", "-f", str(tmp_path / "dump"))
        # The tables of an extension have their foreign keys before their rows, and these come in any order.
        replica = {"PGOPTIONS": "-c session_replication_role=replica"}
        program(target, "pg_restore", "--exit-on-error", "-j", "2", str(tmp_path / "dump"), environment=replica)


def rows(database: Database, user: str = "postgres") -> dict[str, list]:
    """What a role sees of the registry."""
    return {name: database.run(f"SELECT to_jsonb(t) FROM pgml.{name} t ORDER BY id", user=user) for name in TABLES}


@pytest.mark.parametrize("kind", ["plain", "custom", "parallel"])
def test_everything_comes_back(source, target, kind, tmp_path):
    dump_and_restore(source, target, kind, tmp_path)
    assert rows(target) == rows(source)
    for role in OWNERS:
        assert rows(target, role) == rows(source, role)
        assert target.value(PREDICT, f"of_{role}", user=role) == source.value(PREDICT, f"of_{role}", user=role)
    for table in TABLES:
        last = f"SELECT last_value, is_called FROM pgml.{table}_id_seq"
        assert target.run(last)[0] >= target.run(f"SELECT max(id), true FROM pgml.{table}")[0]


def test_the_copy_goes_on_from_where_the_dump_was(source, target, tmp_path):
    dump_and_restore(source, target, "custom", tmp_path)
    with target.connect("frank") as connection:
        tuned = tune_reviews(connection, "of_frank", relation_name="frank.reviews")
    assert (tuned.status, tuned.model_id) == ("successful", 3)
    assert label(target, "of_frank", "wonderful film, a joy", user="frank") == "good"


def test_a_job_that_ran_while_the_dump_was_made_is_failed_in_the_copy(source, target, tmp_path):
    jobs = "SELECT status, error, resumable FROM pgml.jobs WHERE model_id = %s"
    with source.connect() as connection:
        slow = tune_reviews(connection, "slow", relation_name="erin.reviews", hyperparams=LONG, wait=False).model_id
    wait_for(source, slow, "in_progress")
    dump_and_restore(source, target, "plain", tmp_path)
    assert source.run(jobs, slow) == [("in_progress", None, False)]
    assert target.run(jobs, slow) == [("failed", "the job worker ended without a word", False)]
    assert target.value("SELECT pgml.cancel(%s)", slow) is False
    assert source.value("SELECT pgml.cancel(%s)", slow) is True
    wait_for(source, slow, "cancelled")


OWN = ("--schema=frank", "--schema=pgml", "--extension=pgml")


def test_a_role_dumps_its_own_rows(source, target):
    script = program(source, "pg_dump", "--enable-row-security", *OWN, user="frank")
    program(target, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", given=script)
    assert rows(target) == rows(source, "frank")
    assert target.value(PREDICT, "of_frank", user="frank") == source.value(PREDICT, "of_frank", user="frank")


def test_a_role_is_told_that_row_security_leaves_out_rows(source):
    with pytest.raises(AssertionError, match="query would be affected by row-level security policy"):
        program(source, "pg_dump", *OWN, user="frank")


def test_another_superuser_restores_it(source, target):
    make_role(source, "deputy", "LOGIN SUPERUSER")
    program(target, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", user="deputy", given=program(source, "pg_dump"))
    assert rows(target) == rows(source)


def test_a_physical_copy_predicts_the_same(source, model_directory):
    with source.connect() as connection:
        slow = tune_reviews(connection, "copied", relation_name="erin.reviews", hyperparams=LONG, wait=False).model_id
    wait_for(source, slow, "in_progress")
    cluster = Cluster(model_directory)
    try:
        shutil.rmtree(cluster.data)
        cluster._run("pg_basebackup", "-h", source.cluster.root, "-U", "postgres", "-D", cluster.data, "-c", "fast")
        cluster.configure(unix_socket_directories=str(cluster.root))
        cluster.start()
        copy = Database(cluster, source.name)
        assert copy.value(PREDICT, "of_erin") == source.value(PREDICT, "of_erin")
        assert wait_for(copy, slow, "failed").error
        assert source.value("SELECT status FROM pgml.jobs WHERE model_id = %s", slow) == "in_progress"
    finally:
        cluster.remove()
        source.run("SELECT pgml.cancel(%s)", slow)


def test_the_dump_holds_no_secret(source):
    secret = f"hf_{os.urandom(12).hex()}"
    source.run("SELECT pgml.set_secret('hub_token', %s)", secret, user="erin")
    assert secret.encode() not in program(source, "pg_dump")
