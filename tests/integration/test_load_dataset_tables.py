"""The tables that load_dataset makes and fills, with a runtime that says what it is told to."""

from __future__ import annotations

import json

import pytest
from tests.integration.jobs import listen, refusal
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

BAD_ARGUMENT = "22023"


@pytest.fixture
def database(told_database):
    return told_database


@pytest.fixture
def connection(database):
    with database.connect() as connection:
        yield connection


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("imdb", "pgml.imdb"),
        ("FinGPT/fingpt-sentiment-train", 'pgml."FinGPT/fingpt-sentiment-train"'),
        ('a"b; DROP TABLE pgml.models', 'pgml."a""b; DROP TABLE pgml.models"'),
        ("grüße/✓", 'pgml."grüße/✓"'),
        ("/srv/data/reviews.parquet", "pgml.reviews"),
        ("/srv/data/Reviews of 2024.csv.gz", 'pgml."Reviews of 2024"'),
        ("/srv/data/reviews/", "pgml.reviews"),
        ("https://data.example.com/a/reviews.jsonl?version=2#x", "pgml.reviews"),
    ],
)
def test_a_table_is_named_after_its_source(connection, source, name):
    assert load(connection, source, numbers(1, 3)) == (name, 3)
    assert connection.execute(f"SELECT sum(n) FROM {name}").fetchone() == (6,)


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("reviews", "public.reviews"),
        ("Reviews", "public.reviews"),
        ('"Reviews"', 'public."Reviews"'),
        ('other."my table"', 'other."my table"'),
        ('"select"', 'public."select"'),
    ],
)
def test_the_caller_names_the_table_as_sql_does(connection, table, name):
    connection.execute("CREATE SCHEMA other")
    assert load(connection, "x", numbers(1, 3), table=table) == (name, 3)
    assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (3,)


def test_a_temporary_table(connection):
    assert load(connection, "x", numbers(1, 3), table="pg_temp.mine")[1] == 3
    assert load(connection, "x", numbers(4, 5), table="mine", if_exists="append")[1] == 2
    assert connection.execute("SELECT count(*) FROM pg_temp.mine").fetchone() == (5,)


TYPES = {
    "smallint": "-32768",
    "integer": "7",
    "bigint": "9223372036854775807",
    "numeric": "12345678901234567890.5",
    "numeric(10,2)": "12.50",
    "real": "0.1",
    "double precision": "NaN",
    "boolean": "t",
    "text": "grüße \\\\ \\t \\n",
    "bytea": "\\\\x00ff",
    "timestamp": "2024-02-29 12:00:00.123456",
    "timestamptz": "2024-02-29 12:00:00+00",
    "date": "infinity",
    "time": "23:59:59.999999",
    "interval": "1 day 02:03:04",
    "jsonb": '{"a": [1, null]}',
    "uuid": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "text[]": '{a,NULL,"b c"}',
    "double precision[]": "{0.5,-1e300}",
    "timestamptz[]": "{}",
}


def test_types_values_and_nulls(connection):
    given = columns(**{f"c{i}": kind for i, kind in enumerate(TYPES)})
    lines = "\t".join(TYPES.values()) + "\n" + "\t".join(["\\N"] * len(TYPES)) + "\n"
    load(connection, "x", [given, rows(lines), DONE], table="t")
    made = connection.execute(
        "SELECT array_agg(format_type(atttypid, atttypmod) ORDER BY attnum) FROM pg_attribute "
        "WHERE attrelid = 't'::regclass AND attnum > 0"
    ).fetchone()[0]
    full = {"timestamp": "timestamp without time zone", "time": "time without time zone"}
    full |= {"timestamptz": "timestamp with time zone", "timestamptz[]": "timestamp with time zone[]"}
    assert made == [full.get(kind, kind) for kind in TYPES]
    texts = ", ".join(f"c{i}::text" for i in range(len(TYPES)))
    connection.execute("SET timezone = 'UTC'")
    first, second = connection.execute(f"SELECT {texts} FROM t").fetchall()
    plain = {"text": "grüße \\ \t \n", "bytea": "\\x00ff", "boolean": "true", "double precision[]": "{0.5,-1e+300}"}
    assert list(first) == [plain.get(kind, value) for kind, value in TYPES.items()]
    assert set(second) == {None}


@pytest.mark.parametrize(
    "kind", ["oid", "text; DROP TABLE t", "numeric(1)", "numeric(1,)", "text[][]", "TEXT", "", None]
)
def test_only_types_of_the_list_are_made(connection, kind):
    said = load_refusal(connection, "x", [columns(a=kind), DONE])
    assert said.sqlstate == "08P01"
    assert not tables(connection)


def test_odd_names_of_columns_and_their_comments(connection):
    names = ['a"b', "select", "Größe", " ", "a'b; DROP TABLE x", "x" * 63]
    given = [{"name": name, "type": "text", "comment": f"it's {name}"} for name in names]
    load(connection, "x", [{"header": {"table": {"columns": given}}}, rows("\t".join("123456") + "\n"), DONE])
    found = connection.execute(
        "SELECT attname::text, col_description(attrelid, attnum) FROM pg_attribute "
        "WHERE attrelid = 'pgml.x'::regclass AND attnum > 0 ORDER BY attnum"
    ).fetchall()
    assert found == [(name, f"it's {name}") for name in names]
    assert connection.execute("TABLE pgml.x").fetchone() == tuple("123456")


def test_no_rows_make_an_empty_table(connection):
    assert load(connection, "x", [columns(n="integer"), DONE]) == ("pgml.x", 0)
    assert connection.execute("SELECT count(n) FROM pgml.x").fetchone() == (0,)


def test_what_the_runtime_is_asked(connection):
    said = listen(connection)
    connection.execute("SET pgml.data_directories = '/srv/data, /mnt'")
    connection.execute("SET pgml.data_urls = 'https://data.example.com/*'")
    kwargs = {"frames": [{"header": {"echo": True}}, *numbers(1, 1)], "split": "train"}
    kwargs |= {"table": "t", "if_exists": "append", "token": "hf_secret_of_the_call"}
    connection.execute(
        "SELECT pgml.load_dataset(' imdb', subset => 'plain', \"limit\" => 5, kwargs => %s)", [json.dumps(kwargs)]
    )
    request = next(json.loads(text) for _, text in said if text.startswith("{"))
    assert request["op"] == "load_dataset"
    assert (request["source"], request["subset"], request["limit"]) == ("imdb", "plain", 5)
    assert request["kwargs"].keys() == {"frames", "split"}
    assert request["directories"] == ["/srv/data", "/mnt"]
    assert request["urls"] == "https://data.example.com/*"
    assert request["hub"]["role"] == "10"


def late(frame):
    return frame | {"pause": 2.1}


def test_warnings_notices_and_progress_reach_the_caller(connection):
    said = listen(connection)
    progress = {"header": {"progress": {"phase": "downloading", "bytes": 300000, "total": 5000000}}}
    warning = {"header": {"ok": True, "warnings": ['column "a" has numbers and texts']}}
    given, lines, _ = numbers(1, 2)
    load(
        connection,
        "x",
        [{"header": {"notice": "found it"}}, progress, late(progress), given, lines, late(lines), warning],
    )
    texts = [text for _, text in said]
    assert texts[:2] == ["found it", "downloading: 300 kB of 5 MB"]
    assert texts[2].startswith("loading: 4 rows, ")
    assert said[3] == ("WARNING", 'column "a" has numbers and texts')


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("NULL", BAD_ARGUMENT, "source"),
        ("'  '", BAD_ARGUMENT, "source"),
        ("'x', \"limit\" => -1", BAD_ARGUMENT, "limit"),
        ("'x', kwargs => '[]'", BAD_ARGUMENT, "kwargs"),
        ("'x', kwargs => '{\"table\": 5}'", BAD_ARGUMENT, "table"),
        ("'x', kwargs => '{\"table\": \"\"}'", BAD_ARGUMENT, "identifier"),
        ("'x', kwargs => '{\"table\": \"a b\"}'", BAD_ARGUMENT, "identifier"),
        ("'x', kwargs => '{\"table\": \"a.b.c\"}'", BAD_ARGUMENT, "a.b.c"),
        ("'x', kwargs => '{\"table\": \"nowhere.t\"}'", "3F000", "nowhere"),
        ("'x', kwargs => '{\"if_exists\": \"overwrite\"}'", BAD_ARGUMENT, "overwrite"),
        ("'x', kwargs => '{\"if_exists\": true}'", BAD_ARGUMENT, "if_exists"),
        ("'https://example.com/'", BAD_ARGUMENT, "name"),
        (f"'{'x' * 64}'", "42622", "63 bytes"),
        (f"'x', kwargs => '{{\"table\": \"{'ü' * 32}\"}}'", "42622", "63 bytes"),
    ],
)
def test_bad_arguments(connection, call, code, words):
    said = refusal(connection, f"SELECT pgml.load_dataset({call})")
    assert said.sqlstate == code
    assert words in said.message_primary


@pytest.mark.parametrize("name", ["models", "jobs", "models_id_seq", "task", "projects"])
@pytest.mark.parametrize("if_exists", ["error", "replace", "append"])
def test_names_of_the_extension_are_refused(connection, name, if_exists):
    assert load_refusal(connection, name, [SILENCE], if_exists=if_exists).sqlstate == "42939"
