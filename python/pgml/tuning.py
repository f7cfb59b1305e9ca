"""Tune a model from Python, and watch it. Knows what jobs say in the database; how that is shown is in `progress`.

The job is started and then watched by asking for its state, so it outlives a lost connection, and so does the watching.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.errors import Diagnostic
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pgml.connections import log_notice, resolve_url
from pgml.progress import Display, Silence, display
from pgml.queries import Row, query, shared

POLL = 0.3
"""Seconds between two looks at a job."""
LOST = 60.0
"""Seconds that the server may be out of reach while a job is watched."""
CASTS = {"hyperparams": "jsonb", "test_size": "real", "test_sampling": "pgml.sampling"}
STATE = "SELECT status, step, max_steps, error, sqlstate FROM pgml.jobs WHERE model_id = %s"
LOGS = "SELECT id, logs FROM pgml.logs WHERE model_id = %s AND id > %s ORDER BY id"
RESULT = """SELECT m.metrics, EXISTS (SELECT FROM pgml.deployments d WHERE d.model_id = m.id) AS deployed
            FROM pgml.models m WHERE m.id = %s"""


@dataclass(frozen=True)
class TunedModel:
    """The row that `pgml.tune` gives."""

    status: Literal["queued", "in_progress", "successful"]
    task: str
    algorithm: str
    deployed: bool
    model_id: int
    metrics: dict[str, Any] | None


def tune(  # noqa: PLR0913, PLR0917 -- the arguments of the SQL function
    project_name: str,
    task: str | None = None,
    relation_name: str | None = None,
    y_column_name: str | None = None,
    model_name: str | None = None,
    hyperparams: Mapping[str, Any] | None = None,
    test_size: float | None = None,
    test_sampling: Literal["random", "last", "stratified"] | None = None,
    automatic_deploy: bool | None = None,
    materialize_snapshot: bool | None = None,
    wait: bool = True,
    *,
    database_url: str | None = None,
    progress: bool | None = None,
) -> TunedModel:
    """Tune a model on the rows of a table or view; the arguments are those of the SQL function, with its defaults.

    Shows a progress bar where standard error is a terminal, lines elsewhere, and nothing with `progress=False`.
    Ctrl-C cancels the job. `wait=False` returns once the job is recorded; `pgml.jobs()` tells how it goes on.

    Errors are psycopg's, with the SQLSTATE that the job failed with: InvalidParameterValue for arguments, all mistakes
    at once; UndefinedTable, UndefinedColumn, InsufficientPrivilege for the relation; QueryCanceled for a cancelled job.

    >>> tune("reviews", task="text-classification", relation_name="reviews", y_column_name="verdict",
    ...      model_name="all-MiniLM-L6-v2")  # doctest: +SKIP
    TunedModel(status='successful', task='text_classification', algorithm='transformers', deployed=True, model_id=1, …)
    """
    given = {
        "project_name": project_name,
        "task": task,
        "relation_name": relation_name,
        "y_column_name": y_column_name,
        "model_name": model_name,
        "hyperparams": None if hyperparams is None else Jsonb(dict(hyperparams)),
        "test_size": test_size,
        "test_sampling": test_sampling,
        "automatic_deploy": automatic_deploy,
        "materialize_snapshot": materialize_snapshot,
    }
    url = resolve_url(database_url)
    given["wait"] = wait and _is_embedded(url)  # then it can be watched from this session alone
    with closing(display(project_name, progress)) as shown:
        watch = _Watch(url, shown)
        try:
            started = _start(watch, {name: value for name, value in given.items() if value is not None})
            if not wait or started.status == "successful":
                return started
            watch.until_end()
        except KeyboardInterrupt:
            watch.cancel()
            raise
    (result,) = query(url, RESULT, started.model_id)
    return TunedModel("successful", started.task, started.algorithm, model_id=started.model_id, **result)


def _is_embedded(url: str) -> bool:
    (row,) = query(url, "SELECT current_setting('pgml.runtime', true) AS mode")
    return bool(row["mode"] == "embedded")


def _start(watch: _Watch, arguments: Mapping[str, Any]) -> TunedModel:
    call = sql.SQL(", ").join(
        sql.SQL("{} => %s" + (f"::{CASTS[name]}" if name in CASTS else "")).format(sql.Identifier(name))
        for name in arguments
    )
    statement = sql.SQL("SELECT * FROM pgml.tune({})").format(call)
    with (
        shared(watch.url).connection() as connection,
        _notices(connection, watch.shown),
        connection.cursor(row_factory=class_row(TunedModel)) as cursor,
    ):
        row = None
        try:
            cursor.execute(statement, list(arguments.values()))
        finally:
            # Also after an interrupt that came too late for the statement: then the job runs.
            if cursor.rowcount == 1 and (row := cursor.fetchone()):
                watch.model_id = row.model_id
    if row is None:
        raise psycopg.DataError("pgml.tune gave no row")
    return row


@contextmanager
def _notices(connection: psycopg.Connection, shown: Display) -> Iterator[None]:
    """Show the server's notices instead of logging them."""
    if isinstance(shown, Silence):
        yield
        return

    def show(notice: Diagnostic) -> None:
        shown.say(f"{notice.severity}: {notice.message_primary}")

    connection.remove_notice_handler(log_notice)
    connection.add_notice_handler(show)
    try:
        yield
    finally:
        connection.remove_notice_handler(show)
        connection.add_notice_handler(log_notice)


class _Watch:
    """Follows one job and shows it."""

    def __init__(self, url: str, shown: Display) -> None:
        self.url = url
        self.shown = shown
        self.model_id: int | None = None  # until it has begun
        self.seen = 0  # the last row of pgml.logs that was shown

    def until_end(self) -> None:
        """Raises the error that the job ended with."""
        while (state := self._look())["status"] in ("queued", "in_progress"):
            time.sleep(POLL)
        if state["status"] != "successful":
            raise _error(state)

    def cancel(self) -> None:
        """End the job, if there is one."""
        if self.model_id is None:
            return
        query(self.url, "SELECT pgml.cancel(%s)", self.model_id)
        with suppress(psycopg.errors.QueryCanceled):
            self.until_end()
        self.shown.say("cancelled")

    def _look(self) -> Row:
        state = _ask(self.url, STATE, self.model_id)[0]  # before the logs, so that none is missed at the end
        for row in _ask(self.url, LOGS, self.model_id, self.seen):
            self.seen = row["id"]
            self.shown.log(row["logs"])
        if state["step"] is not None and state["max_steps"]:
            self.shown.advance(state["step"], state["max_steps"])
        return state


def _ask(url: str, statement: str, *parameters: Any) -> list[Row]:
    """A query that outlasts a restart of the server or a proxy."""
    deadline = time.monotonic() + LOST
    while True:
        try:
            return query(url, statement, *parameters)
        except psycopg.OperationalError as error:
            # A cancelled statement is one of these too, and is meant.
            if isinstance(error, psycopg.errors.QueryCanceled) or time.monotonic() > deadline:
                raise
            time.sleep(1)


def _error(state: Row) -> psycopg.Error:
    try:
        kind: type[psycopg.Error] = psycopg.errors.lookup(state["sqlstate"] or "")
    except KeyError:
        kind = psycopg.DatabaseError
    return kind(state["error"] or f"the job is {state['status']}")
