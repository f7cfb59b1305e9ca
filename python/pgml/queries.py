"""The functions and views of the database as Python calls: run a model, list the jobs, read what a job logged.

All take `database_url`; without it the environment counts, as for `OpenSourceAI`. Connections are shared by all calls
with the same URL and kept. Errors are psycopg's, as the server says them: UndefinedObject for what does not exist,
InvalidParameterValue for arguments that are wrong, OperationalError where the server cannot be reached.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pgml.connections import Connections, resolve_url

Row = dict[str, Any]
shared = functools.cache(Connections)
"""The connections to a URL."""


def query(database_url: str | None, statement: str, *parameters: Any) -> list[Row]:
    """Run one statement; its rows by column name. Programs call the functions below."""
    with (
        shared(resolve_url(database_url)).connection() as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        cursor.execute(statement.encode(), parameters)
        return cursor.fetchall()


def _value(database_url: str | None, statement: str, *parameters: Any) -> Any:
    return next(iter(query(database_url, statement, *parameters)[0].values()))


def transform(
    task: str | Mapping[str, Any],
    inputs: Sequence[Any],
    args: Mapping[str, Any] | None = None,
    *,
    database_url: str | None = None,
) -> list[Any]:
    """Run a model on many inputs at once: one result an input, in order, None for None.

    `task` is a dict such as `{"task": "text-classification", "model": "…"}`, or only the name of a task. `inputs` are
    texts, or anything that JSON can hold. `args` are arguments of the task, such as `{"top_k": 3}`.

    >>> transform({"model": "reviews"}, ["A wonderful film."])  # doctest: +SKIP
    [{'label': 'good', 'score': 0.98}]
    """
    described = {"task": task} if isinstance(task, str) else dict(task)
    texts = all(value is None or isinstance(value, str) for value in inputs)
    given = list(inputs) if texts else [None if value is None else Jsonb(value) for value in inputs]
    statement = "SELECT pgml.transform(task => %s::jsonb, args => %s::jsonb, inputs => %s::{}[])"
    statement = statement.format("text" if texts else "jsonb")
    answer: list[Any] = _value(database_url, statement, Jsonb(described), Jsonb(dict(args or {})), given)
    return answer


def predict(project_name: str, inputs: str | Sequence[str | None], *, database_url: str | None = None) -> Any:
    """The answer of a project's deployed model to a text, such as `{"label": "good", "score": 0.98}`.

    A list of texts gives a list of answers, in order, None for None; much faster than one call a text.
    """
    if isinstance(inputs, str):
        return _value(database_url, "SELECT pgml.predict(%s, %s::text)", project_name, inputs)
    return _value(database_url, "SELECT pgml.predict(%s, %s::text[])", project_name, list(inputs))


def generate(
    project_name: str,
    inputs: str | Sequence[str | None],
    config: Mapping[str, Any] | None = None,
    *,
    database_url: str | None = None,
) -> Any:
    """What a project's deployed model answers to a text, or how it goes on after it: the new text only.

    A list of texts gives a list of texts, in order, None for None. `config` holds arguments such as
    `{"max_tokens": 64, "temperature": 0, "seed": 1}`.
    """
    given = Jsonb(dict(config or {}))
    if isinstance(inputs, str):
        return _value(database_url, "SELECT pgml.generate(%s, %s::text, %s::jsonb)", project_name, inputs, given)
    statement = "SELECT pgml.generate(%s, %s::text[], %s::jsonb)"
    return _value(database_url, statement, project_name, list(inputs), given)


def jobs(*, database_url: str | None = None) -> list[Row]:
    """All jobs of `pgml.tune` that one may see, newest first: the rows of the view `pgml.jobs` as dicts.

    Among the keys: model_id, project, status, step, max_steps, share_done (0 to 1), time_left (a timedelta), error.
    """
    return query(database_url, "SELECT * FROM pgml.jobs ORDER BY model_id DESC")


def metrics(model_id: int, *, database_url: str | None = None) -> Any:
    """What a job logged, a row for each time: created_at, step, epoch, loss, learning_rate …, eval_* after evaluations.

    A pandas DataFrame where pandas is installed, else a list of dicts. ValueError for a model that does not exist.
    """
    known = query(database_url, "SELECT id FROM pgml.models WHERE id = %s", model_id)
    if not known:
        raise ValueError(f"model {model_id} does not exist")
    statement = "SELECT created_at, logs FROM pgml.logs WHERE model_id = %s ORDER BY id"
    rows = [{"created_at": row["created_at"], **row["logs"]} for row in query(database_url, statement, model_id)]
    return import_module("pandas").DataFrame(rows) if find_spec("pandas") else rows
