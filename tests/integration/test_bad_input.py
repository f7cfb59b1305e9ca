"""Bad input gives one clear error with SQLSTATE and hint, before anything is trained, and leaves nothing behind."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import psycopg
import pytest
from tests.integration.jobs import LONG, QUICK, REVIEWS, REVIEWS_JOB, recorded, refusal, tune, tune_reviews

INVALID = "22023"
UNDEFINED_OBJECT = "42704"
UNDEFINED_TABLE = "42P01"
UNDEFINED_COLUMN = "42703"
WRONG_KIND = "42809"
UNSUPPORTED = "0A000"
FORBIDDEN = "42501"


class Bad(NamedTuple):
    """Arguments that replace good ones, and what is said of them."""

    arguments: dict[str, Any]
    sqlstate: str
    message: str
    hint: str | None = None


def hyperparams(**given: Any) -> dict[str, Any]:
    return {"hyperparams": given}


BAD = {
    "relation missing": Bad({"relation_name": "reviewz"}, UNDEFINED_TABLE, '"reviewz" does not exist', "reviews"),
    "relation missing in schema": Bad({"relation_name": "public.reviewz"}, UNDEFINED_TABLE, "does not exist"),
    "relation name not a name": Bad({"relation_name": '"one'}, "42602", "name"),
    "relation name with a quote": Bad({"relation_name": 'one"'}, UNDEFINED_TABLE, "does not exist"),
    "relation name too long": Bad({"relation_name": "a.b.c.d"}, "42601", "too many dotted names"),
    "relation NULL": Bad({"relation_name": None}, INVALID, "relation_name", "relation_name =>"),
    "a sequence": Bad({"relation_name": "numbers"}, WRONG_KIND, "not a table or view"),
    "an index": Bad({"relation_name": "reviews_id"}, WRONG_KIND, "not a table or view"),
    "label column missing": Bad({"y_column_name": "verdit"}, UNDEFINED_COLUMN, '"verdit".*does not exist', '"verdict"'),
    "text column missing": Bad(
        hyperparams(dataset_args={"text_column": "texts"}), UNDEFINED_COLUMN, '"texts".*does not exist', '"text"'
    ),
    "no label column to guess": Bad({"y_column_name": None}, INVALID, "cannot tell which column", "class_column"),
    "text that is bytea": Bad(hyperparams(dataset_args={"text_column": "raw"}), INVALID, "bytea", "::text"),
    "text that is the label": Bad(hyperparams(dataset_args={"text_column": "verdict"}), INVALID, "cannot be both"),
    "labels that are numeric": Bad({"y_column_name": "price"}, INVALID, "numeric", "Cast it"),
    "no rows": Bad({"relation_name": "nothing"}, INVALID, '"nothing" has no rows', "privileges"),
    "no complete rows": Bad({"relation_name": "gaps"}, INVALID, "no complete rows"),
    "one class": Bad({"relation_name": "one_class"}, INVALID, 'label "good"', "[Tt]wo labels"),
    "a label per row": Bad({"y_column_name": "id"}, INVALID, "different labels", "class_column"),
    "task NULL": Bad({"task": None}, INVALID, "task", "text-classification"),
    "task unknown": Bad(
        {"task": "text-clasification"}, INVALID, 'unknown task "text.clasification"', '"text-classification"'
    ),
    "task for later": Bad({"task": "summarization"}, UNSUPPORTED, "cannot be tuned yet", "text-classification"),
    "model NULL": Bad({"model_name": None}, INVALID, "model_name", "model_name =>"),
    "model unknown": Bad({"model_name": "berd"}, UNDEFINED_OBJECT, '"berd" does not exist', "model"),
    "model id unknown": Bad(
        {"model_name": "pgml:999"}, UNDEFINED_OBJECT, '"pgml:999" does not exist', "trained_models"
    ),
    "model id no number": Bad({"model_name": "pgml:x"}, UNDEFINED_OBJECT, '"pgml:x" does not exist'),
    "model no directory of transformers": Bad({"model_name": "no-model"}, INVALID, "not a transformers model"),
    "model of pickles": Bad({"model_name": "pickles"}, UNSUPPORTED, "pickle|safetensors", "save_pretrained"),
    "model without weights": Bad({"model_name": "no-weights"}, "58P01|0A000", "weights"),
    "model outside": Bad({"model_name": "/etc"}, FORBIDDEN, "allowed directories", "pgml.model_directories"),
    "model outside by dots": Bad({"model_name": "bert/../../../etc"}, "42501|42704", "etc"),
    "hyperparams unknown": Bad(
        hyperparams(training_arg={}), INVALID, 'unknown key "training_arg" in hyperparams', '"training_args"'
    ),
    "training_args unknown": Bad(
        hyperparams(training_args={"learning_rat": 1}), INVALID, 'unknown key "learning_rat"', '"learning_rate"'
    ),
    "dataset_args unknown": Bad(
        hyperparams(dataset_args={"text_colum": "text"}), INVALID, 'unknown key "text_colum"', '"text_column"'
    ),
    "tokenizer_args unknown": Bad(
        hyperparams(tokenizer_args={"max_lenght": 5}), INVALID, 'unknown key "max_lenght"', '"max_length"'
    ),
    "hyperparams no object": Bad({"hyperparams": [1]}, INVALID, "hyperparams must be an object, not array"),
    "training_args no object": Bad(hyperparams(training_args=[]), INVALID, '"training_args".*must be an object'),
    "a word for a number": Bad(
        hyperparams(training_args={"num_train_epochs": "three"}), INVALID, '"num_train_epochs".*must be'
    ),
    "a number for a boolean": Bad(hyperparams(training_args={"fp16": 7}), INVALID, '"fp16".*must be'),
    "an array for a column": Bad(
        hyperparams(dataset_args={"text_column": ["text"]}), INVALID, '"text_column".*must be'
    ),
    "epochs out of range": Bad(hyperparams(training_args={"num_train_epochs": -1}), INVALID, '"num_train_epochs"'),
    "strategy unknown": Bad(hyperparams(training_args={"eval_strategy": "epochs"}), INVALID, '"eval_strategy"'),
    "pushing offline": Bad(hyperparams(training_args={"push_to_hub": True}), "55000|42501", "push", "."),
    "test_size 0": Bad({"test_size": 0}, INVALID, "test_size must be above 0", "held out"),
    "test_size negative": Bad({"test_size": -0.5}, INVALID, "test_size must be above 0", "held out"),
    "test_size 1": Bad({"test_size": 1}, INVALID, "leaves no row to train on", "held out"),
    "test_size all rows": Bad({"test_size": 80}, INVALID, "leaves no row", "held out of 80"),
    "test_size more rows": Bad({"test_size": 1000}, INVALID, "leaves no row", "held out of 80"),
    "test_size no number": Bad({"test_size": float("nan")}, INVALID, "test_size"),
    "test_size half rows": Bad({"test_size": 1.5}, INVALID, "whole number", "held out"),
    "test_size no row": Bad({"test_size": 0.001}, INVALID, "leaves no row to test on", "larger"),
    "project empty": Bad({"project_name": " "}, INVALID, "project_name cannot be NULL or empty"),
}


@pytest.fixture(scope="module")
def bad_models(model_directory):
    """Directories that hold no model that may be used."""
    contents = {
        "no-model": {"README.md": "nothing"},
        "pickles": {"config.json": '{"model_type": "bert"}', "pytorch_model.bin": "no pickle"},
        "no-weights": {"config.json": '{"model_type": "bert"}'},
    }
    for name, files in contents.items():
        directory = model_directory / name
        directory.mkdir()
        directory.chmod(0o755)
        for file, text in files.items():
            (directory / file).write_text(text)
            (directory / file).chmod(0o644)
    return model_directory


@pytest.fixture(scope="module")
def filled(shared, bad_models):
    shared.run(REVIEWS)
    shared.run(
        """ALTER TABLE reviews ADD raw bytea, ADD price numeric;
           CREATE INDEX reviews_id ON reviews (id);
           CREATE SEQUENCE numbers;
           CREATE TABLE nothing AS SELECT * FROM reviews WHERE false;
           CREATE VIEW one_class AS SELECT * FROM reviews WHERE verdict = 'good';
           CREATE VIEW gaps AS SELECT ''::text AS text, verdict FROM reviews"""
    )
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
        tune(connection, **{"project": "bad"} | REVIEWS_JOB | _renamed(bad.arguments))
    said = raised.value.diag
    assert re.fullmatch(bad.sqlstate, said.sqlstate), f"{said.sqlstate}: {said.message_primary}"
    assert re.search(bad.message, said.message_primary), said.message_primary
    if bad.hint:
        assert re.search(bad.hint, said.message_hint or ""), said.message_hint
    assert_style(said)
    assert counts_of(connection) == before


def _renamed(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"project" if name == "project_name" else name: value for name, value in arguments.items()}


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


@pytest.mark.parametrize(
    ("query", "sqlstate", "message", "hint"),
    [
        (
            """SELECT pgml.transform('{"task": "text-clasification", "model": "bert-classifier"}'::jsonb,
                                     inputs => ARRAY['x'])""",
            INVALID,
            'unknown task "text-clasification"',
            "text-classification",
        ),
        ("SELECT pgml.transform('text-classification', inputs => ARRAY['x'])", INVALID, "model", '"model"'),
        ("""SELECT pgml.transform('{"task": ', inputs => ARRAY['x'])""", "22P02", "not valid JSON", None),
        ("SELECT pgml.transform('[]'::jsonb, inputs => ARRAY['x'])", INVALID, '"task" must be a JSON object', None),
        (
            """SELECT pgml.transform('{"model": "bert-classifier"}'::jsonb, '[]', ARRAY['x'])""",
            INVALID,
            '"args" must be a JSON object',
            None,
        ),
        (
            """SELECT pgml.transform('{"model": "bert-classifier"}'::jsonb, '{"tok_k": 2}', ARRAY['x'])""",
            INVALID,
            '"tok_k"',
            '"top_k"',
        ),
        (
            """SELECT pgml.transform('{"model": "bert-classifier"}'::jsonb, '{"top_k": "x"}', ARRAY['x'])""",
            INVALID,
            '"top_k" must be',
            None,
        ),
        (
            """SELECT pgml.transform('{"model": 7}'::jsonb, inputs => ARRAY['x'])""",
            INVALID,
            '"model"',
            None,
        ),
        (
            """SELECT pgml.transform('{"model": "bert-clasifier"}'::jsonb, inputs => ARRAY['x'])""",
            UNDEFINED_OBJECT,
            '"bert-clasifier" does not exist',
            "model",
        ),
        (
            """SELECT pgml.transform('{"model": "pickles"}'::jsonb, inputs => ARRAY['x'])""",
            UNSUPPORTED,
            "pickle",
            "save_pretrained",
        ),
        (
            """SELECT pgml.transform('{"model": "no-model"}'::jsonb, inputs => ARRAY['x'])""",
            INVALID,
            "not a transformers model directory",
            None,
        ),
        (
            """SELECT pgml.transform('{"model": "bert", "task": "text-classification"}'::jsonb,
                                     inputs => ARRAY['x'])""",
            INVALID,
            "text-classification",
            "pgml.tune",
        ),
        (
            """SELECT pgml.transform('{"model": "bert-classifier", "trust_remote_code": true}'::jsonb,
                                     inputs => ARRAY['x'])""",
            UNSUPPORTED,
            "trust_remote_code",
            None,
        ),
        (
            """SELECT pgml.transform('{"model": "bert-classifier"}'::jsonb, inputs => ARRAY['{"a": 1}'::jsonb])""",
            INVALID,
            "invalid input",
            "text_pair",
        ),
        ("SELECT pgml.predict('revews', 'x')", UNDEFINED_OBJECT, 'project "revews" does not exist', None),
        ("SELECT pgml.deploy(999)", UNDEFINED_OBJECT, "model 999 does not exist", "trained_models"),
        ("SELECT pgml.deploy('revews', 'rollback')", UNDEFINED_OBJECT, 'project "revews" does not exist', None),
        ("SELECT pgml.deploy(NULL, 'rollback')", "22004", "cannot be NULL", None),
        ("SELECT pgml.cancel(999)", UNDEFINED_OBJECT, "model 999 does not exist", "pgml.jobs"),
    ],
)
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
