"""Calls with bad input, and what is said of them. Knows nothing of tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from tests.cluster import Database
from tests.integration.jobs import REVIEWS

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

BAD_CALLS = [
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
        """SELECT pgml.transform('{"model": "closed"}'::jsonb, inputs => ARRAY['x'])""",
        "42501",
        'file "model.safetensors" of model "closed" cannot be read',
        "chmod -R a+rX",
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
]
"""Statements, SQLSTATE, a part of the message, a part of the hint."""

MODELS = {
    "no-model": {"README.md": "nothing"},
    "pickles": {"config.json": '{"model_type": "bert"}', "pytorch_model.bin": "no pickle"},
    "no-weights": {"config.json": '{"model_type": "bert"}'},
    "closed": {"config.json": '{"model_type": "bert"}', "model.safetensors": "for nobody"},
}
TABLES = """
ALTER TABLE reviews ADD raw bytea, ADD price numeric;
CREATE INDEX reviews_id ON reviews (id);
CREATE SEQUENCE numbers;
CREATE TABLE nothing AS SELECT * FROM reviews WHERE false;
CREATE VIEW one_class AS SELECT * FROM reviews WHERE verdict = 'good';
CREATE VIEW gaps AS SELECT ''::text AS text, verdict FROM reviews
"""


def make_bad_models(models: Path) -> None:
    """Directories that hold no model that may be used."""
    for name, files in MODELS.items():
        directory = models / name
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)
        for file, text in files.items():
            if not (directory / file).exists():
                (directory / file).write_text(text)
            (directory / file).chmod(0 if text == "for nobody" else 0o644)


def make_relations(database: Database) -> None:
    """What the calls name."""
    database.run(REVIEWS)
    database.run(TABLES)


def renamed(arguments: dict[str, Any]) -> dict[str, Any]:
    """As `tests.integration.jobs.tune` takes them."""
    return {"project" if name == "project_name" else name: value for name, value in arguments.items()}
