"""Data sets become tables: files of this machine and repositories of the Hub, through the real runtime."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import shutil
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.cluster import wait_until
from tests.integration.hub_database import connected_to
from tests.integration.jobs import listen, refusal

pytestmark = pytest.mark.private_cluster("the server would have to read files that the test writes")
LOAD = "SELECT * FROM pgml.load_dataset(%s, kwargs => %s)"
TEXTS = ["plain", "grüße ✓ 🙂", "tab\tline\nreturn\rback\\slash", "\\N", "", None, 'it\'s "quoted"', "x" * 100_000]


@pytest.fixture(scope="module")
def files():
    """A directory that PostgreSQL's user can read."""
    directory = Path(tempfile.mkdtemp(prefix="pgml-data-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def connection(database, files):
    with database.connect() as connection:
        connection.execute("LOAD 'pgml'")
        connection.execute(f"SET pgml.data_directories = '{files}'")
        connection.execute("SET timezone = 'UTC'")
        yield connection


def load(connection: psycopg.Connection, source: Path | str, **kwargs) -> tuple[str, int]:
    return connection.execute(LOAD, [str(source), json.dumps(kwargs)]).fetchone()


def types(connection: psycopg.Connection, table: str) -> dict[str, str]:
    query = "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass "
    return dict(connection.execute(query + "AND attnum > 0 ORDER BY attnum", [table]).fetchall())


VALUES = {
    "int8": (pa.int8(), "smallint", [-128, 127]),
    "uint16": (pa.uint16(), "integer", [0, 65535]),
    "int64": (pa.int64(), "bigint", [-(2**63), 2**63 - 1]),
    "uint64": (pa.uint64(), "numeric", [0, decimal.Decimal(2**64 - 1)]),
    "float32": (pa.float32(), "real", [0.5, -3.25]),
    "float64": (pa.float64(), "double precision", [0.1, 1e-300]),
    "infinite": (pa.float64(), "double precision", [float("inf"), float("-inf")]),
    "bool": (pa.bool_(), "boolean", [True, False]),
    "binary": (pa.binary(), "bytea", [b"\x00\xff\\", b""]),
    "date": (pa.date32(), "date", [dt.date(1970, 1, 1), dt.date(2024, 2, 29)]),
    "time": (pa.time64("us"), "time without time zone", [dt.time(0, 0), dt.time(23, 59, 59, 999999)]),
    "timestamp": (
        pa.timestamp("us"),
        "timestamp without time zone",
        [dt.datetime(1900, 1, 1), dt.datetime(2024, 2, 29, 1, 2, 3, 456789)],  # noqa: DTZ001 none is meant
    ),
    "timestamptz": (
        pa.timestamp("us", "Europe/Berlin"),
        "timestamp with time zone",
        [dt.datetime(2024, 7, 1, 12, tzinfo=dt.UTC), dt.datetime(1999, 1, 1, tzinfo=dt.UTC)],
    ),
    "duration": (pa.duration("s"), "interval", [dt.timedelta(days=2, seconds=5), dt.timedelta(0)]),
    "decimal": (pa.decimal128(10, 2), "numeric(10,2)", [decimal.Decimal("12345678.90"), decimal.Decimal("-0.01")]),
    "list": (pa.list_(pa.int32()), "integer[]", [[1, None, 3], []]),
    "texts": (pa.list_(pa.string()), "text[]", [['a"b', "c\\d", "{,}", None, "NULL", "grüße\n"], []]),
    "uuid": (pa.uuid(), "uuid", [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)]),
    "struct": (
        pa.struct([("a", pa.int64()), ("b", pa.string())]),
        "jsonb",
        [{"a": 1, "b": 'ü"\\'}, {"a": None, "b": ""}],
    ),
}


def array_of(values: list, kind: pa.DataType) -> pa.Array:
    if isinstance(kind, pa.UuidType):
        return pa.array([value and value.bytes for value in values], kind)
    return pa.array(values, kind)


def test_types_values_and_nulls_come_through(connection, files):
    columns = {name: array_of([*values, None], kind) for name, (kind, _, values) in VALUES.items()}
    pq.write_table(pa.table(columns), files / "types.parquet")
    assert load(connection, files / "types.parquet") == ("pgml.types", 3)
    assert types(connection, "pgml.types") == {name: kind for name, (_, kind, _) in VALUES.items()} | {"split": "text"}
    rows = connection.execute("SELECT " + ", ".join(f'"{name}"' for name in VALUES) + " FROM pgml.types").fetchall()
    for column, (name, (_, _, values)) in zip(zip(*rows, strict=True), VALUES.items(), strict=True):
        assert list(column) == [*values, None], name


def test_texts_come_through_as_they_are(connection, files):
    pq.write_table(pa.table({"n": range(len(TEXTS)), "text": TEXTS}), files / "texts.parquet")
    load(connection, files / "texts.parquet")
    assert [text for (text,) in connection.execute("SELECT text FROM pgml.texts ORDER BY n")] == TEXTS


def test_texts_come_through_whatever_the_client_speaks(connection, files):
    path = files / "letters.parquet"
    pq.write_table(pa.table({"n": [1, 2], "text": ["grüße", "naïve"]}), path)
    connection.execute("SET client_encoding = 'LATIN1'")
    load(connection, path, table="letters")
    assert connection.execute("SELECT n, text FROM letters ORDER BY n").fetchall() == [(1, "grüße"), (2, "naïve")]


def test_rows_are_appended_to_columns_of_other_types(connection, files):
    path = files / "counts.parquet"
    pq.write_table(pa.table({"n": [1, 2], "share": [0.5, None]}), path)
    connection.execute("CREATE TABLE counts (n text, share numeric, split varchar(9))")
    load(connection, path, table="counts", if_exists="append")
    rows = connection.execute("SELECT n, share, split FROM counts ORDER BY n").fetchall()
    assert rows == [("1", decimal.Decimal("0.5"), "train"), ("2", None, "train")]


def test_formats_names_and_splits(connection, files):
    folder = files / "letters"
    folder.mkdir()
    (folder / "train.csv").write_text('Größe,a"b,select\n1,x,true\n2,,false\n')
    (folder / "test.csv").write_text('Größe,a"b,select\n3,"y,\nz",true\n')
    assert load(connection, folder) == ("pgml.letters", 3)
    rows = connection.execute('SELECT "Größe", "a""b", "select", split FROM pgml.letters').fetchall()
    assert rows == [(1, "x", True, "train"), (2, None, False, "train"), (3, "y,\nz", True, "test")]
    (files / "lines.jsonl").write_text('{"a": {"b": [1, 2.5]}, "c": null}\n{"a": {"b": []}, "c": "x"}\n')
    assert load(connection, "json", data_files="lines.jsonl", table="public.lines", columns=["c", "a"])[1] == 2
    assert connection.execute("SELECT c, a->'b' FROM lines").fetchall() == [(None, [1, 2.5]), ("x", [])]


def test_nul_is_replaced_and_said(connection, files):
    pq.write_table(pa.table({"text": ["a\0b"]}), files / "nul.parquet")
    said = listen(connection)
    load(connection, files / "nul.parquet")
    assert connection.execute("SELECT text FROM pgml.nul").fetchone() == ("a\ufffdb",)
    assert [severity for severity, _ in said] == ["WARNING"]


def test_limit_and_its_border(connection, files):
    pq.write_table(pa.table({"n": range(5000)}), files / "numbers.parquet")
    for limit, rows in ((0, 0), (7, 7), (5000, 5000), (9999, 5000)):
        query = 'SELECT rows FROM pgml.load_dataset(%s, "limit" => %s, kwargs => \'{"if_exists": "replace"}\')'
        assert connection.execute(query, [str(files / "numbers.parquet"), limit]).fetchone() == (rows,)
    assert connection.execute("SELECT count(*), max(n) FROM pgml.numbers").fetchone() == (5000, 4999)


def test_what_no_directory_allows_is_refused(connection, files, database):
    said = refusal(connection, LOAD, "/etc/passwd", '{"table": "t"}')
    assert said.sqlstate == "42501"
    assert "pgml.data_directories" in said.message_hint
    with database.connect() as other:
        assert refusal(other, LOAD, str(files / "numbers.parquet"), "{}").sqlstate == "42501"


def test_mistakes_in_kwargs_are_named(connection, files):
    said = refusal(connection, LOAD, "csv", '{"sepp": ";", "token": "hf_notatokenreally"}')
    assert said.sqlstate == "22023"
    assert "sepp" in f"{said.message_primary} {said.message_detail}"


def test_a_file_that_breaks_off_leaves_no_table(connection, files):
    path = files / "broken.csv"
    path.write_text("n\n" + "".join(f"{n}\n" for n in range(400_000)) + "word\n")
    said = refusal(connection, LOAD, str(path), "{}")
    assert said.sqlstate == "22023"
    assert connection.execute("SELECT to_regclass('pgml.broken')").fetchone() == (None,)
    path.write_bytes(b"PAR1 is all that is right")
    path = path.rename(files / "broken.parquet")
    assert refusal(connection, LOAD, str(path), "{}").sqlstate == "22P04"
    assert connection.execute("SELECT to_regclass('pgml.broken')").fetchone() == (None,)


def test_a_cancel_ends_all_of_it_within_a_second(database, connection, files):
    count = 4_000_000
    pq.write_table(pa.table({"n": range(count), "t": ["some words"] * count}), files / "big.parquet")
    cluster = database.cluster
    load(connection, files / "big.parquet", split="train[:1]", table="warm")
    with database.connect() as other:

        def cancel():
            copied = "SELECT sum(tuples_processed) FROM pg_stat_progress_copy"
            wait_until(lambda: other.execute(copied).fetchone()[0], "rows")
            connection.cancel_safe(timeout=5)
            return time.monotonic()

        with ThreadPoolExecutor() as pool:
            cancelled = pool.submit(cancel)
            assert refusal(connection, LOAD, str(files / "big.parquet"), "{}").sqlstate == "57014"
            assert time.monotonic() - cancelled.result() < 1
    assert connection.execute("SELECT to_regclass('pgml.big')").fetchone() == (None,)
    wait_until(lambda: len(cluster.python_processes("pgml.runtime.hub.errand")) <= 1, "the reader to end")
    assert load(connection, files / "big.parquet", split="train[:10]") == ("pgml.big", 10)


class TestHub:
    @pytest.fixture
    def database(self, hub, cluster):
        with connected_to(hub, cluster) as database:
            yield database

    def test_a_data_set_of_the_hub(self, database):
        with database.connect() as connection:
            assert load(connection, "imdb") == ("pgml.imdb", 1000)
            comment = connection.execute("SELECT col_description('pgml.imdb'::regclass, 2)").fetchone()[0]
            splits = connection.execute("SELECT split, count(*) FROM pgml.imdb GROUP BY 1 ORDER BY 1").fetchall()
            assert splits == [("test", 200), ("train", 400), ("unsupervised", 400)]
            assert comment == "labels: 0 neg, 1 pos"
            said = refusal(connection, LOAD, "imdb", "{}")
            assert said.sqlstate == "42P07"

    def test_what_is_not_there(self, database):
        with database.connect() as connection:
            said = refusal(connection, LOAD, "nobody/nothing", "{}")
            assert said.sqlstate == "42704"
            assert connection.execute("SELECT to_regclass('pgml.\"nobody/nothing\"')").fetchone() == (None,)

    def test_a_token_is_shown_nowhere(self, database):
        with database.connect() as connection:
            said = refusal(connection, LOAD, "nobody/nothing", '{"token": "hf_0123456789secret"}')
            everything = f"{said.message_primary}{said.message_detail}{said.message_hint}{said.context}"
            assert "0123456789secret" not in everything
        assert "0123456789secret" not in database.cluster.log_text()
