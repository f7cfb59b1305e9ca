"""`ALTER EXTENSION pgml UPDATE` from every version that was released, each kept as the script that made it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.cluster import Database, drop_database, make_database, throwaway
from tests.integration.catalog_contents import contents
from tests.integration.jobs import REVIEWS, label, tune_reviews
from tests.relocated import relocated_postgresql

TABLES = ("projects", "snapshots", "models", "deployments", "files", "logs")  # in an order that foreign keys allow
COLUMNS = """SELECT string_agg(quote_ident(column_name), ',') FROM information_schema.columns
             WHERE table_schema = 'pgml' AND table_name = %s"""
RELEASES = sorted((Path(__file__).parents[1] / "assets/releases").glob("pgml--*.sql"))
VERSIONS = [path.stem.removeprefix("pgml--") for path in RELEASES]


@pytest.fixture(scope="module")
def old_and_new(model_directory):
    """A server that has the scripts of all releases beside what is installed now."""
    with relocated_postgresql() as installation:
        for script in RELEASES:
            shutil.copy(script, installation.extensions)
        with throwaway(model_directory, installation.pg_config) as cluster:
            yield cluster


@pytest.fixture(scope="module")
def new(old_and_new) -> Database:
    """A database with the new version and a tuned model."""
    database = make_database(old_and_new)
    database.run(REVIEWS)
    with database.connect() as connection:
        assert tune_reviews(connection).deployed
    return database


@pytest.fixture(scope="module")
def fresh(new) -> dict[str, list[str]]:
    return contents(new)


@pytest.fixture
def empty(old_and_new):
    database = make_database(old_and_new)
    database.run("DROP EXTENSION pgml")
    yield database
    drop_database(database)


def copy_registry(source: Database, target: Database) -> None:
    """Rows and sequences, as far as the target has columns for them; the library of an old version is not here."""
    with source.connect() as reader, target.connect() as writer:
        for table in TABLES:
            names = target.value(COLUMNS, table)
            select = f"COPY (SELECT {names} FROM pgml.{table} ORDER BY id) TO STDOUT"
            insert = f"COPY pgml.{table} ({names}) FROM STDIN"
            with reader.cursor().copy(select) as rows, writer.cursor().copy(insert) as copy:
                for data in rows:
                    copy.write(data)
            writer.execute(f"SELECT setval('pgml.{table}_id_seq', (SELECT max(id) FROM pgml.{table}))")


def registry(database: Database) -> list[dict]:
    return [row for table in TABLES for (row,) in database.run(f"SELECT to_jsonb(t) FROM pgml.{table} t ORDER BY id")]


def test_releases_are_kept():
    assert "0.1.0" in VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_an_update_gives_what_a_new_installation_gives_and_keeps_models(new, fresh, empty, version):
    empty.run(f"CREATE EXTENSION pgml VERSION '{version}'")
    copy_registry(new, empty)
    before = registry(empty)

    empty.run("ALTER EXTENSION pgml UPDATE")

    assert contents(empty) == fresh
    after = registry(empty)
    assert len(before) == len(after) > len(TABLES)
    assert [row for row, then in zip(after, before, strict=True) if not then.items() <= row.items()] == []
    predict = "SELECT pgml.predict('reviews', ARRAY['a joy', 'no sense', 'neither'])"
    assert empty.value(predict) == new.value(predict)
    empty.run(REVIEWS)
    with empty.connect() as connection:
        again = tune_reviews(connection)
    assert (again.status, again.model_id) == ("successful", 2)
    assert label(empty, "reviews", "wonderful film, a joy") == "good"


@pytest.mark.parametrize(
    "change",
    [
        "COMMENT ON FUNCTION pgml.version() IS 'another'",
        "GRANT INSERT ON pgml.jobs TO PUBLIC",
        "ALTER TABLE pgml.models ADD COLUMN more text",
        "ALTER FUNCTION pgml.version() COST 7",
        "ALTER POLICY members ON pgml.logs USING (true)",
        "UPDATE pg_extension SET extcondition[1] = 'WHERE false' WHERE extname = 'pgml'",
    ],
)
def test_a_difference_is_seen(empty, fresh, change):
    empty.run("CREATE EXTENSION pgml")
    assert contents(empty) == fresh
    empty.run(change)
    assert contents(empty) != fresh
