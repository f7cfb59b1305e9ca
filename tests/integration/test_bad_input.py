"""Bad input gives one clear error with SQLSTATE and hint, before anything is trained, and leaves nothing behind."""

from __future__ import annotations

import re

import psycopg
import pytest
from tests.integration.bad_input import (
    BAD,
    BAD_CALLS,
    INVALID,
    make_bad_models,
    make_relations,
    renamed,
)
from tests.integration.jobs import LONG, QUICK, REVIEWS, REVIEWS_JOB, recorded, refusal, tune, tune_reviews


@pytest.fixture(scope="module")
def filled(shared, model_directory):
    make_bad_models(model_directory)
    make_relations(shared)
    return shared


@pytest.fixture
def connection(filled):
    with filled.connect() as connection:
        yield connection


def assert_style(said: psycopg.errors.Diagnostic) -> None:
    """As PostgreSQL's style guide wants it."""
    assert re.match(r"[a-z\"0-9]", said.message_primary), said.message_primary
    assert said.message_primary[-1] not in ".:!\n", said.message_primary
    assert "\n" not in said.message_primary
    assert "Traceback" not in (said.message_detail or "")
    for sentences in filter(None, (said.message_detail, said.message_hint)):
        assert re.match(r"[A-Z\"0-9]|\w+[_.]\w+ ", sentences), sentences
        assert sentences[-1] in ".?;", sentences


def counts_of(connection: psycopg.Connection) -> dict[str, int]:
    """How many rows and directories of jobs there are."""
    tables = ("projects", "models", "snapshots", "logs", "deployments", "files")
    counts = {t: connection.execute(f"SELECT count(*) FROM pgml.{t}").fetchone()[0] for t in tables}
    own = "'pgml/jobs/' || (SELECT oid FROM pg_database WHERE datname = current_database())"
    directories = connection.execute(f"SELECT count(*) FROM pg_ls_dir({own}, true, false)")
    return {**counts, "directories": directories.fetchone()[0]}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_of_tune(connection, case):
    bad = BAD[case]
    before = counts_of(connection)
    with pytest.raises(psycopg.Error) as raised:
        tune(connection, **{"project": "bad"} | REVIEWS_JOB | renamed(bad.arguments))
    said = raised.value.diag
    assert re.fullmatch(bad.sqlstate, said.sqlstate), f"{said.sqlstate}: {said.message_primary}"
    assert re.search(bad.message, said.message_primary), said.message_primary
    if bad.hint:
        assert re.search(bad.hint, said.message_hint or ""), said.message_hint
    assert_style(said)
    assert counts_of(connection) == before


def test_all_mistakes_are_told_at_once(connection):
    before = counts_of(connection)
    wrong = {"training_arg": {}, "training_args": {"learning_rat": 1, "num_train_epochs": []}, "dataset_args": {"x": 1}}
    with pytest.raises(psycopg.errors.InvalidParameterValue) as raised:
        tune_reviews(connection, "bad", hyperparams=wrong, y_column_name="verdit", test_size=-1)
    said = raised.value.diag
    for part in ('"training_arg"', '"learning_rat"', '"num_train_epochs"', '"x"', '"verdit"', "test_size"):
        assert part in said.message_detail
    for part in ('"training_args"', '"learning_rate"', '"verdict"'):
        assert part in said.message_hint
    assert_style(said)
    assert counts_of(connection) == before


def test_an_error_of_a_column_of_the_relation_is_the_callers(connection):
    connection.execute("CREATE OR REPLACE VIEW broken AS SELECT (1 / (id - 40))::text AS text, verdict FROM reviews")
    before = counts_of(connection)
    with pytest.raises(psycopg.errors.DivisionByZero):
        tune_reviews(connection, "bad", relation_name="broken")
    assert counts_of(connection) == before


def test_a_project_keeps_its_task(database):
    database.run(REVIEWS)
    with database.connect() as connection:
        recorded(connection, "kept")
        rows = connection.execute("SELECT count(*) FROM pgml.models").fetchone()
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=r"kept.*text_classification") as raised:
            tune_reviews(connection, "kept", task="text-pair-classification")
        assert_style(raised.value.diag)
        assert "project_name" in raised.value.diag.message_hint
        assert connection.execute("SELECT count(*) FROM pgml.models").fetchone() == rows


def test_a_model_that_is_not_finished_cannot_be_used_or_deployed(database):
    database.run(REVIEWS)
    with database.connect() as connection:
        model_id = tune_reviews(connection, "unfinished", wait=False, hyperparams=LONG).model_id
        for query, sqlstate in (
            (f"SELECT pgml.deploy({model_id})", "55000"),
            ("SELECT pgml.deploy('unfinished', 'most_recent')", "55000"),
            ("SELECT pgml.predict('unfinished', 'x')", "55000"),
            ("""SELECT pgml.transform('{"model": "unfinished"}'::jsonb, inputs => ARRAY['x'])""", "55000"),
            (f"""SELECT pgml.transform('{{"model": "pgml:{model_id}"}}'::jsonb, inputs => ARRAY['x'])""", "42704"),
        ):
            said = refusal(connection, query)
            assert said.sqlstate == sqlstate, query
            assert said.message_hint
            assert_style(said)
        connection.execute("SELECT pgml.cancel(%s)", [model_id])


@pytest.mark.parametrize(("query", "sqlstate", "message", "hint"), BAD_CALLS)
def test_bad_input_of_the_other_functions(connection, query, sqlstate, message, hint):
    said = refusal(connection, query)
    assert said.sqlstate == sqlstate, said.message_primary
    assert message in said.message_primary
    assert hint is None or hint in (said.message_hint or ""), said.message_hint
    assert_style(said)


def test_a_misspelt_project_is_offered_the_nearest(database):
    database.run(REVIEWS)
    with database.connect() as connection:
        recorded(connection, "movie reviews")
        for query in ("SELECT pgml.predict('movie revews', 'x')", "SELECT pgml.deploy('movie revews', 'rollback')"):
            assert "movie reviews" in refusal(connection, query).message_hint


def test_strategy_specific_wants_an_id(database):
    database.run(REVIEWS)
    with database.connect() as connection:
        recorded(connection, "p")
        said = refusal(connection, "SELECT pgml.deploy('p', 'specific')")
        assert (said.sqlstate, said.message_hint) == (INVALID, "SELECT pgml.deploy(<model_id>);")


def test_an_error_leaves_the_connection_to_the_runtime_usable(connection):
    for _ in range(2):
        refusal(connection, "SELECT pgml.transform('{\"model\": \"bert\"}'::jsonb, inputs => ARRAY['x'])")
        row = connection.execute("SELECT pgml.transform('{\"model\": \"bert-classifier\"}'::jsonb, '{}', ARRAY['x'])")
        assert len(row.fetchone()[0]) == 1
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        tune_reviews(connection, "bad", hyperparams=QUICK, test_size=-1)
