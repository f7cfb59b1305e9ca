"""Who may see and do what: a project belongs to its owner and the members of that role; rows are read as the caller."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb
from tests.integration.jobs import (
    QUICK,
    REVIEWS,
    REVIEWS_JOB,
    label,
    make_role,
    recorded,
    refusal,
    snapshot_of,
    tune_reviews,
    wait_for,
)

TABLES = ("projects", "snapshots", "models", "deployments", "files", "logs")
VIEWS = ("overview", "trained_models", "deployed_models", "jobs")
FORBIDDEN = "42501"
UNDEFINED = "42704"


@pytest.fixture(scope="module")
def owned(shared):
    """A database in which alice tuned a project on a view of hers; carol is a member of her role, bob is not."""
    for role in ("alice", "bob", "carol"):
        make_role(shared, role)
    make_role(shared, "team", "NOLOGIN")
    shared.run("GRANT alice TO carol; GRANT team TO bob; GRANT CREATE ON SCHEMA public TO alice, bob, team")
    shared.run(REVIEWS, user="alice")
    shared.run("CREATE VIEW hers AS SELECT * FROM reviews", user="alice")
    with shared.connect("alice") as connection:
        tuned = tune_reviews(connection, "hers", relation_name="hers")
        assert (tuned.status, tuned.deployed) == ("successful", True)
    shared.model_id = tuned.model_id
    assert label(shared, "hers", "wonderful film, a joy", user="alice") == "good"
    return shared


def counts(database, user: str) -> dict[str, int]:
    return {name: database.value(f"SELECT count(*) FROM pgml.{name}", user=user) for name in TABLES + VIEWS}


def test_a_stranger_sees_nothing_of_a_project(owned):
    assert min(counts(owned, "alice").values()) > 0
    assert set(counts(owned, "bob").values()) == {0}
    stored = "SELECT count(*) FROM pgml.loaded_models WHERE digest IS NOT NULL"  # directories are everybody's
    assert (owned.value(stored, user="bob"), owned.value(stored, user="alice")) == (0, 1)


def test_members_of_the_owner_see_and_use_it(owned):
    assert counts(owned, "carol") == counts(owned, "alice")
    assert label(owned, "hers", "terrible waste, no sense", user="carol") == "bad"
    with owned.connect("carol") as connection:
        owned.run("GRANT SELECT ON hers TO carol", user="alice")
        snapshot = recorded(connection, "hers", relation_name="hers")
    assert owned.value("SELECT count(*) FROM pgml.jobs WHERE project = 'hers'", user="alice") == 2
    assert snapshot.analysis["rows"] == 80


@pytest.mark.parametrize(
    "query",
    [
        "SELECT pgml.predict('hers', 'x')",
        "SELECT pgml.predict('hers', ARRAY['x'])",
        """SELECT pgml.transform('{{"model": "hers"}}'::jsonb, inputs => ARRAY['x'])""",
        """SELECT pgml.transform('{{"model": "pgml:{id}"}}'::jsonb, inputs => ARRAY['x'])""",
        "SELECT pgml.cancel({id})",
        "SELECT pgml.deploy({id})",
        "SELECT pgml.deploy('hers', 'rollback')",
    ],
)
def test_a_stranger_gets_the_answer_that_there_is_no_such_thing(owned, query):
    with owned.connect("bob") as connection:
        said = refusal(connection, query.format(id=owned.model_id))
        assert said.sqlstate == UNDEFINED
        assert "does not exist" in said.message_primary


def test_a_stranger_cannot_cancel_a_running_job(owned):
    with owned.connect("alice") as alice, owned.connect("bob") as bob:
        hyperparams = {"training_args": {"num_train_epochs": 5000, "eval_strategy": "no"}}
        job = tune_reviews(alice, "running", wait=False, hyperparams=hyperparams)
        assert refusal(bob, f"SELECT pgml.cancel({job.model_id})").sqlstate == UNDEFINED
        assert alice.execute("SELECT status FROM pgml.jobs WHERE model_id = %s", [job.model_id]).fetchone()[0] in (
            "queued",
            "in_progress",
        )
        assert alice.execute("SELECT pgml.cancel(%s)", [job.model_id]).fetchone() == (True,)
    assert wait_for(owned, job.model_id).status == "cancelled"


def test_a_stranger_cannot_write_into_a_project(owned):
    before = counts(owned, "alice")
    project_id = owned.value("SELECT project_id FROM pgml.models WHERE id = %s", owned.model_id)
    with owned.connect("bob") as connection:
        for table in TABLES:
            assert connection.execute(f"DELETE FROM pgml.{table}").rowcount == 0
        for change in ("models SET status = 'failed'", "projects SET name = 'his'", "files SET data = ''"):
            assert connection.execute(f"UPDATE pgml.{change}").rowcount == 0
        for insert in (
            f"deployments (project_id, model_id, strategy) VALUES ({project_id}, {owned.model_id}, 'specific')",
            f"logs (project_id, model_id, logs) VALUES ({project_id}, {owned.model_id}, '{{}}')",
            f"files (model_id, path, part, data, size, sha256) VALUES ({owned.model_id}, 'x', 0, '', 0, '')",
            "projects (name, task, owner) VALUES ('hers too', 'text_classification', 'alice'::regrole)",
        ):
            assert refusal(connection, f"INSERT INTO pgml.{insert}").sqlstate == FORBIDDEN
    assert counts(owned, "alice") == before


def test_a_stranger_cannot_deploy_a_foreign_model_in_a_project_of_his_own(owned):
    """Neither may the model of a stranger stand in for his own, nor may its metrics decide over his."""
    with owned.connect("bob") as connection:
        connection.execute("INSERT INTO pgml.projects (name, task) VALUES ('his own', 'text_classification')")
        connection.execute(
            """INSERT INTO pgml.deployments (project_id, model_id, strategy)
               SELECT id, %s, 'specific' FROM pgml.projects WHERE name = 'his own'""",
            [owned.model_id],
        )
        assert refusal(connection, "SELECT pgml.predict('his own', 'x')").sqlstate == "55000"
        connection.execute("DELETE FROM pgml.projects WHERE name = 'his own'")


def test_the_name_of_anothers_project_is_taken(owned):
    owned.run(
        "CREATE TABLE his AS SELECT 'text ' || i AS text, i % 2 AS label FROM generate_series(1, 40) AS i", user="bob"
    )
    with owned.connect("bob") as connection:
        with pytest.raises(
            psycopg.errors.InsufficientPrivilege, match='project "hers" belongs to another role'
        ) as raised:
            tune_reviews(connection, "hers", relation_name="his", y_column_name="label")
        assert "alice" in raised.value.diag.message_hint
    assert set(counts(owned, "bob").values()) == {0}


def test_a_relation_that_the_caller_may_not_read_is_refused(owned):
    with owned.connect("bob") as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied") as raised:
            tune_reviews(connection, "spied", relation_name="reviews")
        assert "GRANT SELECT" in raised.value.diag.message_hint
        assert connection.execute("SELECT count(*) FROM pgml.projects").fetchone() == (0,)


def test_columns_that_the_caller_may_read_are_enough(owned):
    owned.run("CREATE TABLE half_open AS SELECT *, 'secret' AS diary FROM reviews", user="alice")
    owned.run("GRANT SELECT (text, verdict) ON half_open TO bob", user="alice")
    with owned.connect("bob") as connection:
        assert recorded(connection, "columns", relation_name="half_open").analysis["rows"] == 80
        arguments = QUICK | {"dataset_args": {"text_column": "diary"}}
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            tune_reviews(connection, "columns 2", relation_name="half_open", hyperparams=arguments)


def test_row_level_security_of_the_source_holds(owned):
    owned.run(
        """CREATE TABLE shares AS SELECT *, CASE WHEN id <= 50 THEN 'bob' ELSE 'alice' END AS reader FROM reviews;
           ALTER TABLE shares ENABLE ROW LEVEL SECURITY;
           CREATE POLICY mine ON shares USING (reader = current_user);
           GRANT SELECT ON shares TO bob""",
        user="alice",
    )
    with owned.connect("bob") as connection:
        snapshot = recorded(connection, "rows", relation_name="shares")
        assert (snapshot.analysis["rows"], snapshot.analysis["labels"]) == (50, {"good": 25, "bad": 25})
        copied = recorded(connection, "rows", relation_name="shares", materialize_snapshot=True)
        assert copied.analysis["rows"] == 50


def test_a_security_definer_function_tunes_as_its_owner(owned):
    owned.run(
        """CREATE FUNCTION tune_for_all() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = public AS
           $$ SELECT model_id
              FROM pgml.tune('defined', 'text-classification', 'reviews', 'verdict', 'bert', wait => false) $$""",
        user="alice",
    )
    model_id = owned.value("SELECT tune_for_all()", user="bob")
    owners = "SELECT p.owner::text, s.owner::text FROM pgml.models m JOIN pgml.projects p ON p.id = m.project_id "
    owners += "JOIN pgml.snapshots s ON s.id = m.snapshot_id WHERE m.id = %s"
    assert owned.run(owners, model_id) == [("alice", "alice")]
    assert owned.run("SELECT * FROM pgml.jobs WHERE model_id = %s", model_id, user="bob") == []
    assert owned.value("SELECT pgml.cancel(%s)", model_id, user="alice")
    assert wait_for(owned, model_id).status == "cancelled"


@pytest.mark.parametrize(("login", "role"), [("postgres", "alice"), ("bob", "team")])
def test_set_role_also_to_one_that_cannot_log_in(owned, login, role):
    owned.run(
        sql.SQL(
            "CREATE TABLE {} AS SELECT 'text ' || i AS text, i % 2 AS label FROM generate_series(1, 40) AS i"
        ).format(sql.Identifier(f"of_{role}"))
    )
    owned.run(f"ALTER TABLE of_{role} OWNER TO {role}")
    with owned.connect(login) as connection:
        connection.execute(f"SET ROLE {role}")
        arguments = {"relation_name": f"of_{role}", "y_column_name": "label"}
        job = tune_reviews(connection, f"as {role}", wait=False, **arguments)
        assert snapshot_of(connection, job.model_id).analysis["rows"] == 40
        connection.execute("SELECT pgml.cancel(%s)", [job.model_id])
    assert wait_for(owned, job.model_id).status == "cancelled"
    assert owned.value("SELECT owner::text FROM pgml.projects WHERE name = %s", f"as {role}") == role


def test_restart_of_the_runtime_is_for_administrators(owned):
    with owned.connect("bob") as connection:
        assert refusal(connection, "SELECT pgml.restart_runtime()").sqlstate == FORBIDDEN
    owned.run("GRANT EXECUTE ON FUNCTION pgml.restart_runtime() TO bob")
    assert owned.value("SELECT has_function_privilege('bob', 'pgml.restart_runtime()', 'EXECUTE')")
    owned.run("REVOKE EXECUTE ON FUNCTION pgml.restart_runtime() FROM bob")


@pytest.mark.parametrize(
    ("setting", "states"),
    [
        ("pgml.model_directories", {FORBIDDEN}),
        ("pgml.python", {FORBIDDEN, "55P02"}),
        ("pgml.model_memory_limit", {FORBIDDEN, "55P02"}),
        ("pgml.max_jobs", {FORBIDDEN, "55P02"}),
    ],
)
def test_settings_of_the_administrator_are_refused_to_others(owned, setting, states):
    with owned.connect("bob") as connection:
        connection.execute("SELECT pgml.version()")
        assert refusal(connection, f"SET {setting} = '1'").sqlstate in states


@pytest.mark.private_cluster("the server must not load the library at its start")
def test_a_setting_made_before_the_library_is_there_has_no_effect(owned, model_directory):
    """Until the library is loaded PostgreSQL takes any `SET pgml.…`."""
    with owned.connect("bob") as connection:
        connection.execute("SET pgml.model_directories = '/'")
        connection.execute("SELECT pgml.version()")
        query = "SELECT pgml.transform(%s, inputs => ARRAY['x'])"
        said = refusal(connection, query, Jsonb({"model": "/etc"}))
        assert said.sqlstate == FORBIDDEN
        assert str(model_directory) in said.message_detail


def test_an_unprivileged_caller_cannot_use_the_registry_to_run_code_as_the_owner(owned):
    """The worker and the functions look up what they use in pg_catalog alone."""
    owned.run(
        """CREATE SCHEMA trap AUTHORIZATION bob;
           SET ROLE bob;
           CREATE FUNCTION trap.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
           CREATE FUNCTION trap.has_table_privilege(oid, text) RETURNS boolean LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
           CREATE FUNCTION trap.quote_ident(name) RETURNS text LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
           RESET ROLE;
           GRANT USAGE ON SCHEMA trap TO PUBLIC"""
    )
    with owned.connect("alice") as connection:
        connection.execute("SET search_path = trap, pg_catalog, public")
        connection.execute("SELECT pgml.predict('hers', 'x'), (SELECT count(*) FROM pgml.jobs)")
        arguments = REVIEWS_JOB | {"relation_name": "public.reviews"}
        assert recorded(connection, "untrapped", **arguments).analysis["rows"] == 80
