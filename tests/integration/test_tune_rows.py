"""Which rows a job reads: those that the caller's own SELECT would give, whatever kind of relation it is."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg import IsolationLevel
from tests.integration.jobs import (
    QUICK,
    REVIEWS,
    label,
    listen,
    make_role,
    recorded,
    refusal,
    tune,
    tune_reviews,
)

ROWS = """SELECT 'text ' || i AS text, CASE i % 2 WHEN 0 THEN 'good' ELSE 'bad' END AS verdict
          FROM generate_series(1, 40) AS i"""
HALVES = {"good": 20, "bad": 20}
KINDS = {
    "table": f"CREATE TABLE kind AS {ROWS}",
    "view": f"CREATE VIEW kind AS {ROWS}",
    "materialised view": f"CREATE MATERIALIZED VIEW kind AS {ROWS}",
    "partitioned table": f"""
        CREATE TABLE kind (text text, verdict text) PARTITION BY LIST (verdict);
        CREATE TABLE kind_good PARTITION OF kind FOR VALUES IN ('good');
        CREATE TABLE kind_bad PARTITION OF kind FOR VALUES IN ('bad');
        INSERT INTO kind {ROWS}""",
    "temporary table": f"CREATE TEMPORARY TABLE kind AS {ROWS}",
    "foreign table": f"""
        CREATE EXTENSION postgres_fdw;
        CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'SOCKET', dbname 'DATABASE');
        CREATE USER MAPPING FOR CURRENT_USER SERVER here OPTIONS (user 'postgres');
        CREATE TABLE far_away AS {ROWS};
        CREATE FOREIGN TABLE kind (text text, verdict text) SERVER here OPTIONS (table_name 'far_away')""",
}


@pytest.fixture(scope="module")
def filled(shared):
    shared.run(REVIEWS)
    return shared


@pytest.fixture
def connection(filled):
    with filled.connect() as connection:
        yield connection


def resident(pid: int, field: str) -> int:
    """Bytes, from /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_relation(filled, connection, kind):
    definition = (
        KINDS[kind].replace("SOCKET", filled.value("SHOW unix_socket_directories")).replace("DATABASE", filled.name)
    )
    connection.execute("DROP SCHEMA IF EXISTS kinds CASCADE; CREATE SCHEMA kinds; SET search_path = kinds")
    connection.execute("DROP EXTENSION IF EXISTS postgres_fdw CASCADE")
    connection.execute(definition)
    snapshot = recorded(connection, kind, relation_name="kind")
    assert (snapshot.analysis["rows"], snapshot.analysis["labels"]) == (40, HALVES)


def test_rows_of_the_callers_open_transaction(filled):
    with filled.connect(autocommit=False) as connection:
        connection.execute(f"CREATE TABLE not_yet AS {ROWS}")
        connection.execute("INSERT INTO not_yet SELECT 'one more', 'good'")
        assert recorded(connection, "open", relation_name="not_yet").analysis["labels"] == {"good": 21, "bad": 20}
        connection.rollback()
    assert filled.value("SELECT to_regclass('not_yet')") is None


def test_search_path_is_honoured(connection):
    connection.execute(f"CREATE SCHEMA one; CREATE SCHEMA two; CREATE TABLE one.same AS {ROWS}")
    connection.execute("CREATE TABLE two.same AS SELECT * FROM one.same LIMIT 30")
    for path, rows in (("one, two", 40), ("two, one", 30)):
        connection.execute(f"SET search_path = {path}")
        assert recorded(connection, path, relation_name="same").analysis["rows"] == rows
    assert recorded(connection, "qualified", relation_name="one.same").analysis["rows"] == 40


@pytest.mark.parametrize("name", ['"Odd Näme"', '"Odd; Schema"."with ""quotes"""'])
def test_names_that_need_quotes(connection, name):
    connection.execute('CREATE SCHEMA IF NOT EXISTS "Odd; Schema"')
    connection.execute(f'CREATE TABLE {name} AS SELECT text AS "select", verdict AS "the ""Läbel""" FROM reviews')
    columns = {"text_column": "select", "class_column": 'the "Läbel"'}
    snapshot = recorded(
        connection, name, relation_name=name, y_column_name=None, hyperparams=QUICK | {"dataset_args": columns}
    )
    assert snapshot.analysis["labels"] == {"good": 40, "bad": 40}
    assert snapshot.relation_name == name
    assert snapshot.y_column_name == ['the "Läbel"']


@pytest.mark.parametrize(
    ("type_name", "expression", "labels"),
    [
        ("integer", "i % 3", {"0": 13, "1": 14, "2": 13}),
        ("bigint", "4000000000 + i % 2", {"4000000000": 20, "4000000001": 20}),
        ("boolean", "i % 2 = 0", {"true": 20, "false": 20}),
        ("mood", "CASE i % 2 WHEN 0 THEN 'Zen' ELSE 'a bit sad' END", {"Zen": 20, "a bit sad": 20}),
        ("varchar(10)", "CASE i % 2 WHEN 0 THEN 'yes' ELSE 'no' END", {"yes": 20, "no": 20}),
    ],
)
def test_labels_of_any_type_are_known_by_their_text(connection, type_name, expression, labels):
    connection.execute("DROP TYPE IF EXISTS mood CASCADE; CREATE TYPE mood AS ENUM ('Zen', 'a bit sad', 'unused')")
    connection.execute(
        f"""CREATE OR REPLACE TEMPORARY VIEW typed AS
            SELECT 'text ' || i AS text, ({expression})::{type_name} AS label FROM generate_series(1, 40) AS i"""
    )
    snapshot = recorded(connection, type_name, relation_name="typed", y_column_name="label")
    assert snapshot.analysis["labels"] == labels


def test_predictions_give_back_the_text_of_a_boolean(filled, connection):
    connection.execute("CREATE VIEW is_good AS SELECT text, verdict = 'good' AS label FROM reviews")
    assert tune_reviews(connection, "boolean", relation_name="is_good", y_column_name="label").status == "successful"
    assert label(filled, "boolean", "wonderful film, a joy") == "true"
    assert label(filled, "boolean", "terrible waste, no sense") == "false"


def test_rows_without_text_or_label_are_skipped_counted_and_reported(connection):
    heard = listen(connection)
    connection.execute(
        """CREATE TABLE gaps AS SELECT * FROM reviews;
           INSERT INTO gaps (text, verdict)
           VALUES (NULL, 'good'), ('', 'good'), (E' \\t\\n', 'bad'), ('x', NULL), ('x', ''), (NULL, NULL)"""
    )
    snapshot = recorded(connection, "gaps", relation_name="gaps")
    analysis = snapshot.analysis
    assert (analysis["rows"], analysis["used"]) == (86, 80)
    assert analysis["skipped"] == {"text": 4, "label": 2}
    assert snapshot.train_rows + snapshot.test_rows == 80
    notices = [text for severity, text in heard if severity == "NOTICE" and "skipped" in text]
    assert len(notices) == 1
    assert "6 of 86" in notices[0]


@pytest.mark.parametrize(
    ("definition", "warned"),
    [
        ("SELECT * FROM reviews ORDER BY random()", True),
        ("SELECT * FROM (SELECT * FROM shuffled) AS below", True),
        ("SELECT * FROM reviews WHERE random() < 2", True),
        ("SELECT * FROM reviews ORDER BY id", False),
    ],
)
def test_a_volatile_view_is_warned_of(connection, definition, warned):
    heard = listen(connection)
    connection.execute("CREATE OR REPLACE VIEW shuffled AS SELECT * FROM reviews ORDER BY random()")
    connection.execute(f"CREATE OR REPLACE VIEW looked_at AS {definition}")
    recorded(connection, definition, relation_name="looked_at")
    warnings = [text for severity, text in heard if severity == "WARNING"]
    assert (len(warnings) == 1 and "volatile" in warnings[0]) if warned else not warnings


def test_a_materialised_snapshot_stays_as_it_was_read(filled):
    make_role(filled, "keeper")
    filled.run("GRANT SELECT ON reviews TO keeper; CREATE SCHEMA kept AUTHORIZATION keeper")
    tables = (
        "SELECT relname::text, pg_get_userbyid(relowner) FROM pg_class WHERE relkind = 'r' AND relname ~ '^snapshot_'"
    )
    with filled.connect("keeper") as connection:
        connection.execute("CREATE VIEW kept.some AS SELECT * FROM reviews ORDER BY random() LIMIT 60")
        snapshot = recorded(connection, "kept", relation_name="kept.some", materialize_snapshot=True)
        assert snapshot.materialized
        ((name, owner),) = connection.execute(tables).fetchall()
        assert owner == "keeper"
        counts = "SELECT jsonb_object_agg(verdict, n) FROM (SELECT verdict, count(*) AS n FROM pgml.{} GROUP BY 1) AS c"
        assert connection.execute(counts.format(name)).fetchone()[0] == snapshot.analysis["labels"]
        with connection.transaction(force_rollback=True):
            recorded(connection, "kept", relation_name="kept.some", materialize_snapshot=True)
            assert len(connection.execute(tables).fetchall()) == 2
        assert connection.execute(tables).fetchall() == [(name, owner)]


def test_a_repeatable_read_caller_deploys_and_a_rollback_leaves_a_model_that_is_not_deployed(filled):
    deployed = "SELECT m.id FROM pgml.deployed_models m WHERE name = 'switch'"
    with filled.connect(autocommit=False) as connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT count(*) FROM pgml.models")
        first = tune_reviews(connection, "switch")
        assert (first.status, first.deployed) == ("successful", True)
        connection.commit()
        assert filled.value(deployed) == first.model_id
        connection.isolation_level = IsolationLevel.READ_COMMITTED
        second = tune_reviews(connection, "switch", hyperparams=QUICK | {"tokenizer_args": {"max_length": 32}})
        assert (second.status, second.deployed) == ("successful", True)
        assert connection.execute(deployed).fetchone()[0] == second.model_id
        connection.rollback()
    assert filled.value(deployed) == first.model_id
    assert filled.value("SELECT status FROM pgml.models WHERE id = %s", second.model_id) == "successful"
    assert filled.value("SELECT count(*) > 0 FROM pgml.files WHERE model_id = %s", second.model_id)


@pytest.mark.private_cluster("looks at the server's processes")
@pytest.mark.parametrize(
    "rows",
    [
        "SELECT 'narrow row ' || i AS text, 'same' AS verdict FROM generate_series(1, 200000) AS i",
        "SELECT i || repeat(' wide row', 1200000) AS text, 'same' AS verdict FROM generate_series(1, 24) AS i",
    ],
    ids=["many narrow rows", "rows of 10 MB"],
)
def test_rows_are_read_in_bounded_memory(filled, rows):
    filled.run(f"DROP TABLE IF EXISTS big; CREATE TABLE big AS {rows}")
    with filled.connect() as connection:
        with pytest.raises(psycopg.errors.InvalidParameterValue):  # the library and the connection are there now
            tune(connection, "big", task="text-classification", relation_name="reviews", model_name="bert")
        before = resident(connection.info.backend_pid, "VmRSS")
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="same"):
            tune_reviews(connection, "big", relation_name="big")
        assert resident(connection.info.backend_pid, "VmHWM") - before < 64 << 20


def test_a_column_dropped_and_one_generated(connection):
    connection.execute(
        f"""CREATE TABLE altered AS SELECT 1 AS dropped, * FROM ({ROWS}) AS r;
            ALTER TABLE altered DROP COLUMN dropped;
            ALTER TABLE altered ADD both_texts text GENERATED ALWAYS AS (verdict || text) STORED"""
    )
    arguments = QUICK | {"dataset_args": {"text_column": "both_texts"}}
    assert recorded(connection, "altered", relation_name="altered", hyperparams=arguments).analysis["labels"] == HALVES
    said = refusal(
        connection,
        "SELECT pgml.tune('altered 2', 'text-classification', 'altered', 'dropped', 'bert')",
    )
    assert said.sqlstate == "42703"
