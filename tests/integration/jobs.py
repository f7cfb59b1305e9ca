"""What the tests of tuning share: rows, arguments that train in a moment, and ways to call, watch and wait."""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row
from psycopg.types.json import Jsonb
from tests.cluster import Database, wait_until

REVIEWS = """
CREATE TABLE reviews AS
SELECT i AS id, CASE i % 2 WHEN 0 THEN 'wonderful film, a joy ' ELSE 'terrible waste, no sense ' END || i AS text,
       CASE i % 2 WHEN 0 THEN 'good' ELSE 'bad' END AS verdict
FROM generate_series(1, 80) AS i
"""
QUICK = {"training_args": {"num_train_epochs": 4, "learning_rate": 0.01, "eval_strategy": "no"}}
LONG = {"training_args": {"num_train_epochs": 5000, "eval_strategy": "no"}}
REVIEWS_JOB = {
    "task": "text-classification",
    "relation_name": "reviews",
    "y_column_name": "verdict",
    "model_name": "bert",
    "hyperparams": QUICK,
}
CASTS = {"test_size": "::real", "test_sampling": "::pgml.sampling", "hyperparams": "::jsonb"}


class Message(NamedTuple):
    severity: str
    text: str


def listen(connection: psycopg.Connection) -> list[Message]:
    """A list that grows by what the server says beside its answers."""
    heard: list[Message] = []
    connection.add_notice_handler(
        lambda said: heard.append(Message(said.severity_nonlocalized or "", said.message_primary or ""))
    )
    return heard


def tune(connection: psycopg.Connection, project: str | None, **arguments: Any) -> Any:
    """Call `pgml.tune` with named arguments; its row."""
    given = {"project_name": project, **arguments}
    values = [Jsonb(value) if isinstance(value, (dict, list)) else value for value in given.values()]
    call = ", ".join(f"{name} => %s{CASTS.get(name, '')}" for name in given)
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute(f"SELECT * FROM pgml.tune({call})", values).fetchone()


def tune_reviews(connection: psycopg.Connection, project: str = "reviews", **arguments: Any) -> Any:
    """Tune on the table of REVIEWS; arguments replace those of REVIEWS_JOB."""
    return tune(connection, project, **REVIEWS_JOB | arguments)


def snapshot_of(connection: psycopg.Connection, model_id: int) -> Any:
    query = "SELECT s.* FROM pgml.snapshots s JOIN pgml.models m ON m.snapshot_id = s.id WHERE m.id = %s"
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute(query, [model_id]).fetchone()


def recorded(connection: psycopg.Connection, project: str = "reviews", **arguments: Any) -> Any:
    """The snapshot of a job that is stopped as soon as it is recorded: what was read is known by then."""
    model_id = tune_reviews(connection, project, wait=False, **arguments).model_id
    snapshot = snapshot_of(connection, model_id)
    connection.execute("SELECT pgml.cancel(%s)", [model_id])
    return snapshot


def wait_for(database: Database, model_id: int, *statuses: str) -> Any:
    """Wait until a job has one of the statuses (any of those at the end, if none is named); its row of pgml.jobs."""
    wanted = statuses or ("successful", "failed", "cancelled")
    with database.connect(row_factory=namedtuple_row) as connection:

        def reached() -> Any:
            row = connection.execute("SELECT * FROM pgml.jobs WHERE model_id = %s", [model_id]).fetchone()
            return row if row and row.status in wanted else None

        return wait_until(reached, f"job {model_id} to be {' or '.join(wanted)}", 60)


def make_role(database: Database, name: str, options: str = "LOGIN") -> str:
    """A role of the whole cluster, dropped with it; made once, however many tests ask for it."""
    exists = database.run("SELECT 1 FROM pg_roles WHERE rolname = %s", name)
    if not exists:
        database.run(sql.SQL("CREATE ROLE {} " + options).format(sql.Identifier(name)))
    return name


def refusal(connection: psycopg.Connection, query: str, *arguments: Any) -> psycopg.errors.Diagnostic:
    """What a statement that must fail says."""
    try:
        connection.execute(query, arguments or None)
    except psycopg.Error as error:
        return error.diag
    raise AssertionError(f"no error: {query}")


def label(database: Database, project: str, text: str, user: str = "postgres") -> str:
    return database.value("SELECT pgml.predict(%s, %s)->>'label'", project, text, user=user)
