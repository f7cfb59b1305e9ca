"""Loads into tables that are there, privileges and transactions; the runtime says what it is told to."""

from __future__ import annotations

import json

import pytest
from tests.integration.jobs import listen, make_role, refusal
from tests.integration.loading import (
    DONE,
    SILENCE,
    columns,
    load,
    load_refusal,
    numbers,
    rows,
    tables,
)

EXISTS, NO_PRIVILEGE, NO_COLUMN = "42P07", "42501", "42703"


@pytest.fixture
def database(told_database):
    return told_database


@pytest.fixture
def connection(database):
    with database.connect() as connection:
        yield connection


class TestExisting:
    """A table that is there already."""

    @pytest.fixture(autouse=True)
    def table(self, connection):
        connection.execute("CREATE TABLE pgml.x (n integer)")
        connection.execute("INSERT INTO pgml.x VALUES (0)")

    def test_it_is_an_error_before_anything_is_fetched(self, connection):
        said = load_refusal(connection, "x", [SILENCE])
        assert said.sqlstate == EXISTS
        assert all(word in said.message_hint for word in ("replace", "append", "table"))

    def test_replace_empties_a_table_with_the_same_columns(self, connection):
        connection.execute("CREATE VIEW v AS SELECT n FROM pgml.x")
        connection.execute("CREATE INDEX i ON pgml.x (n); GRANT SELECT ON pgml.x TO pg_monitor")
        oid = connection.execute("SELECT 'pgml.x'::regclass::oid").fetchone()
        assert load(connection, "x", numbers(1, 3), if_exists="replace") == ("pgml.x", 3)
        assert connection.execute("SELECT array_agg(n) FROM v").fetchone() == ([1, 2, 3],)
        assert connection.execute("SELECT 'pgml.x'::regclass::oid").fetchone() == oid

    def test_replace_makes_a_table_with_other_columns_anew(self, connection):
        said = listen(connection)
        assert load(connection, "x", [columns(n="bigint"), rows("5\n"), DONE], if_exists="replace") == ("pgml.x", 1)
        assert connection.execute("SELECT pg_typeof(n)::text, n FROM pgml.x").fetchall() == [("bigint", 5)]
        assert "made anew" in said[0].text

    def test_replace_does_not_take_along_what_depends_on_it(self, connection):
        connection.execute("CREATE VIEW v AS SELECT n FROM pgml.x")
        said = load_refusal(connection, "x", [columns(m="integer"), DONE], if_exists="replace")
        assert said.sqlstate == "2BP01"
        assert "view v" in said.message_detail
        assert "another table" in said.message_hint
        assert connection.execute("SELECT n FROM v").fetchall() == [(0,)]

    def test_replace_that_fails_keeps_the_rows(self, connection):
        for lines in ("x\n", "1\t2\n"):
            load_refusal(connection, "x", [columns(n="integer"), rows(lines), DONE], if_exists="replace")
        assert connection.execute("SELECT n FROM pgml.x").fetchall() == [(0,)]

    def test_replace_and_append_make_a_table_that_is_not_there(self, connection):
        assert load(connection, "y", numbers(1, 3), if_exists="replace") == ("pgml.y", 3)
        assert load(connection, "z", numbers(1, 3), if_exists="append") == ("pgml.z", 3)

    def test_append_goes_by_names(self, connection):
        connection.execute("ALTER TABLE pgml.x ADD at timestamptz DEFAULT now(), ADD t text, ADD id serial")
        given = [columns(t="text", n="integer"), rows("one\t1\ntwo\t2\n"), DONE]
        assert load(connection, "x", given, if_exists="append") == ("pgml.x", 2)
        found = connection.execute("SELECT n, t, id, at IS NOT NULL FROM pgml.x ORDER BY n").fetchall()
        assert found == [(0, None, 1, True), (1, "one", 2, True), (2, "two", 3, True)]

    def test_append_names_the_columns_that_are_missing(self, connection):
        given = [columns(n="integer", a="text", **{"B c": "text"}), DONE]
        said = load_refusal(connection, "x", given, if_exists="append")
        assert said.sqlstate == NO_COLUMN
        assert '"a", "B c"' in said.message_primary

    def test_append_fires_triggers_and_keeps_constraints_and_indexes(self, connection):
        connection.execute("ALTER TABLE pgml.x ADD PRIMARY KEY (n), ADD CHECK (n < 100)")
        connection.execute("CREATE TABLE parents AS SELECT n FROM generate_series(0, 10) n")
        connection.execute("ALTER TABLE parents ADD PRIMARY KEY (n)")
        connection.execute("ALTER TABLE pgml.x ADD FOREIGN KEY (n) REFERENCES parents")
        connection.execute("CREATE TABLE fired (n int)")
        connection.execute(
            "CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN INSERT INTO fired VALUES (NEW.n); RETURN NEW; END'"
        )
        connection.execute("CREATE TRIGGER t BEFORE INSERT ON pgml.x FOR EACH ROW EXECUTE FUNCTION fire()")
        connection.execute("CREATE TRIGGER s BEFORE INSERT ON pgml.x FOR EACH STATEMENT EXECUTE FUNCTION fire()")
        assert load(connection, "x", numbers(1, 3), if_exists="append") == ("pgml.x", 3)
        assert connection.execute("SELECT array_agg(n) FROM fired").fetchone() == ([None, 1, 2, 3],)
        connection.execute("SET enable_seqscan = off")
        assert connection.execute("SELECT n FROM pgml.x WHERE n = 2").fetchall() == [(2,)]
        for first, code in ((3, "23505"), (100, "23514"), (11, "23503")):
            assert load_refusal(connection, "x", numbers(first, first), if_exists="append").sqlstate == code
        assert connection.execute("SELECT count(*) FROM pgml.x").fetchone() == (4,)

    def test_append_into_partitions(self, connection):
        connection.execute("CREATE TABLE p (n int) PARTITION BY RANGE (n)")
        connection.execute("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (3)")
        connection.execute("CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (3) TO (9)")
        assert load(connection, "x", numbers(1, 5), table="p", if_exists="append") == ("public.p", 5)
        assert connection.execute("SELECT count(*) FROM p2").fetchone() == (3,)
        assert load_refusal(connection, "x", numbers(9, 9), table="p", if_exists="append").sqlstate == "23514"

    def test_append_refuses_generated_columns(self, connection):
        connection.execute("CREATE TABLE g (m integer, n integer GENERATED ALWAYS AS (m + 1) STORED)")
        assert load_refusal(connection, "x", numbers(1, 1), table="g", if_exists="append").sqlstate == "428C9"

    @pytest.mark.parametrize("if_exists", ["replace", "append"])
    def test_what_is_no_table_is_refused(self, connection, if_exists):
        connection.execute("CREATE VIEW v AS SELECT n FROM pgml.x; CREATE SEQUENCE s; CREATE INDEX i ON pgml.x (n)")
        connection.execute("CREATE MATERIALIZED VIEW m AS SELECT n FROM pgml.x")
        for name in ("v", "s", "m", "pgml.i"):
            said = load_refusal(connection, "x", [SILENCE], table=name, if_exists=if_exists)
            assert said.sqlstate == "42809", name

    @pytest.mark.parametrize(
        "table", ["pg_class", "pg_catalog.pg_proc", "pg_catalog.int4", "information_schema.sql_features"]
    )
    def test_catalogs_are_out_of_reach_of_superusers_too(self, connection, table):
        for if_exists in ("error", "replace", "append"):
            assert load_refusal(connection, "x", [SILENCE], table=table, if_exists=if_exists).sqlstate == "42939"


class TestPrivileges:
    @pytest.fixture(autouse=True)
    def roles(self, database):
        for role in ("alice", "bob"):
            make_role(database, role)
        database.run("CREATE SCHEMA hers AUTHORIZATION alice; GRANT USAGE ON SCHEMA hers TO bob")

    def test_who_may_make_no_tables_hears_it_at_once(self, database):
        with database.connect("bob") as connection:
            for table in ({}, {"table": "hers.t"}):
                said = load_refusal(connection, "x", [SILENCE], **table)
                assert said.sqlstate == NO_PRIVILEGE
                assert "kwargs" in said.message_hint
                assert "GRANT CREATE" in said.message_hint

    def test_a_table_is_its_makers(self, database):
        with database.connect("alice") as connection:
            load(connection, "x", numbers(1, 3), table="hers.t")
        assert database.value("SELECT relowner::regrole::text FROM pg_class WHERE relname = 't'") == "alice"
        with database.connect("bob") as connection:
            for if_exists in ("append", "replace"):
                said = load_refusal(connection, "x", [SILENCE], table="hers.t", if_exists=if_exists)
                assert said.sqlstate == NO_PRIVILEGE
                assert "GRANT INSERT" in said.message_hint

    def test_what_was_granted_may_be_done(self, database):
        database.run("CREATE TABLE hers.t (n integer, m integer)", user="alice")
        given = [columns(m="integer"), DONE]
        with database.connect("bob") as connection:
            database.run("GRANT INSERT (n) ON hers.t TO bob", user="alice")
            assert load(connection, "x", numbers(1, 3), table="hers.t", if_exists="append")[1] == 3
            assert load_refusal(connection, "x", given, table="hers.t", if_exists="append").sqlstate == NO_PRIVILEGE
            database.run("GRANT INSERT, TRUNCATE ON hers.t TO bob", user="alice")
            same = [columns(n="integer", m="integer"), rows("1\t2\n"), DONE]
            assert load(connection, "x", same, table="hers.t", if_exists="replace")[1] == 1
            said = load_refusal(connection, "x", given, table="hers.t", if_exists="replace")
            assert "must be owner" in said.message_primary

    def test_row_security_is_not_passed_by(self, database):
        database.run("CREATE TABLE hers.t (n integer); GRANT INSERT ON hers.t TO bob", user="alice")
        database.run("ALTER TABLE hers.t ENABLE ROW LEVEL SECURITY", user="alice")
        with database.connect("bob") as connection:
            said = load_refusal(connection, "x", [SILENCE], table="hers.t", if_exists="append")
            assert said.sqlstate == "0A000"
            assert "another table" in said.message_hint
        with database.connect("alice") as connection:
            assert load(connection, "x", numbers(1, 3), table="hers.t", if_exists="append")[1] == 3
            connection.execute("ALTER TABLE hers.t FORCE ROW LEVEL SECURITY")
            assert load_refusal(connection, "x", [SILENCE], table="hers.t", if_exists="append").sqlstate == "0A000"

    def test_a_role_that_was_set_counts(self, database):
        with database.connect() as connection:
            connection.execute("SET ROLE bob")
            assert load_refusal(connection, "x", [SILENCE], table="hers.t").sqlstate == NO_PRIVILEGE


class TestTransactions:
    def test_a_rollback_takes_the_table_along(self, connection):
        with connection.transaction(force_rollback=True):
            load(connection, "x", numbers(1, 3))
            assert connection.execute("SELECT count(*) FROM pgml.x").fetchone() == (3,)
        assert not tables(connection)

    def test_savepoints(self, connection):
        with connection.transaction():
            load(connection, "x", numbers(1, 3))
            with connection.transaction(force_rollback=True):
                load(connection, "x", numbers(4, 5), if_exists="append")
            with pytest.raises(Exception, match="no such set"), connection.transaction():
                load(connection, "y", [columns(n="integer"), rows("1\n"), error_frame("no such set")])
            load(connection, "x", numbers(6, 6), if_exists="append")
        assert connection.execute("SELECT array_agg(n) FROM pgml.x").fetchone() == ([1, 2, 3, 6],)
        assert tables(connection) == {"pgml.x"}

    def test_an_exception_that_is_caught(self, connection):
        kwargs = [json.dumps({"frames": [columns(n="integer"), rows(f"1\n{last}\n"), DONE]}) for last in ("x", "2")]
        with connection.transaction():
            connection.execute(
                f"""DO $$ BEGIN PERFORM pgml.load_dataset('x', kwargs => '{kwargs[0]}');
                EXCEPTION WHEN invalid_text_representation THEN
                    PERFORM pgml.load_dataset('x', kwargs => '{kwargs[1]}'); END $$"""
            )
            assert connection.execute("SELECT array_agg(n) FROM pgml.x").fetchone() == ([1, 2],)
            assert connection.execute("SELECT count(*) FROM pg_stat_progress_copy").fetchone() == (0,)

    def test_read_only(self, connection):
        connection.execute("SET default_transaction_read_only = on")
        assert load_refusal(connection, "x", [SILENCE]).sqlstate == "25006"

    def test_two_loads_in_one_statement(self, connection):
        query = "SELECT (pgml.load_dataset('x', kwargs => %s)).rows, (pgml.load_dataset('x', kwargs => %s)).rows"
        kwargs = [json.dumps({"frames": numbers(1, n), "if_exists": "append"}) for n in (2, 3)]
        assert connection.execute(query, kwargs).fetchone() == (2, 3)
        assert connection.execute("SELECT count(*) FROM pgml.x").fetchone() == (5,)

    def test_a_trigger_may_load_too(self, connection):
        connection.execute("CREATE TABLE outer_table (n integer)")
        inner = json.dumps({"frames": numbers(7, 8), "table": "inner_table", "if_exists": "append"})
        connection.execute(
            "CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$BEGIN PERFORM pgml.load_dataset('i', kwargs => '{inner}'); RETURN NEW; END$$"
        )
        connection.execute("CREATE TRIGGER t BEFORE INSERT ON outer_table FOR EACH ROW EXECUTE FUNCTION fire()")
        given = [columns(n="integer"), rows("1\n"), rows("2\n"), DONE]
        assert load(connection, "o", given, table="outer_table", if_exists="append")[1] == 2
        assert connection.execute("SELECT count(*) FROM inner_table").fetchone() == (4,)

    def test_repeatable_read_sees_what_it_loaded(self, connection):
        connection.execute("SET default_transaction_isolation = 'repeatable read'")
        with connection.transaction():
            connection.execute("SELECT 1")
            load(connection, "x", numbers(1, 3))
            assert connection.execute("SELECT count(*) FROM pgml.x").fetchone() == (3,)

    def test_a_table_that_a_query_reads_is_not_emptied(self, connection):
        load(connection, "x", numbers(1, 3))
        query = "SELECT pgml.load_dataset('x', kwargs => %s) FROM pgml.x"
        kwargs = json.dumps({"frames": numbers(1, 3), "if_exists": "replace"})
        assert refusal(connection, query, kwargs).sqlstate == "55006"


def error_frame(message):
    return {"header": {"error": {"sqlstate": "42704", "message": message, "detail": None, "hint": None}}}


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([error_frame("no such set")], "42704"),
        ([columns(n="integer"), rows("1\n"), error_frame("no such set")], "42704"),
        ([columns(n="integer"), rows("1\n")], "08006"),
        ([columns(n="integer"), rows("1\n2\n3"), DONE], None),
        ([columns(n="integer"), rows("1\nx\n"), DONE], "22P02"),
        ([columns(n="integer"), rows("1\n1\t2\n"), DONE], "22P04"),
        ([columns(n="integer"), {"header": {"what": 1}}, DONE], "08P01"),
        ([rows("1\n"), DONE], "08P01"),
        ([DONE], "08P01"),
        ([columns(n="integer", **{"x" * 64: "text"}), DONE], "42622"),
        ([columns(ctid="integer"), DONE], "42701"),
    ],
)
def test_a_failure_leaves_no_table_and_the_session_goes_on(connection, frames, code):
    if code:
        assert load_refusal(connection, "x", frames).sqlstate == code
        assert not tables(connection)
    else:  # PostgreSQL takes a last line without an end
        load(connection, "x", frames)
    assert load(connection, "y", numbers(1, 3)) == ("pgml.y", 3)
