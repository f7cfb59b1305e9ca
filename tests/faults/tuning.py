"""A pgml.tune that a session waits for, watched and hurt from outside."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path

import psycopg
from tests.cluster import Database, wait_until

REVIEWS = """
CREATE TABLE reviews AS
SELECT i AS id, CASE i % 2 WHEN 0 THEN 'wonderful film, a joy ' ELSE 'terrible waste, no sense ' END || i AS body,
       CASE i % 2 WHEN 0 THEN 'good' ELSE 'bad' END AS verdict
FROM generate_series(1, 80) AS i
"""
# As long as a test may take; a training that nobody stops would take hours.
ENDLESS = {"num_train_epochs": 100_000, "logging_steps": 5, "eval_strategy": "no", "save_strategy": "no"}
SOON = 2.0  # a cancelled job is over within this many seconds


def tune_query(project: str = "tags", relation: str = "reviews", more: str = "", **training_args: object) -> str:
    """The call of pgml.tune."""
    hyperparams = {"training_args": {**ENDLESS, **training_args}, "dataset_args": {"text_column": "body"}}
    return (
        f"SELECT * FROM pgml.tune('{project}', 'text-classification', '{relation}', y_column_name => 'verdict', "
        f"model_name => 'bert', hyperparams => '{json.dumps(hyperparams)}'{more})"
    )


class Tuning:
    """It runs in a thread, on a connection of its own."""

    def __init__(self, database: Database, settings: str = "", user: str = "postgres", **query: object) -> None:
        self.database = database
        self.project = query.get("project", "tags")
        self.connection = database.connect(user)
        self.connection.add_notice_handler(self._hear)
        if settings:
            self.connection.execute(settings)
        self.backend = self.connection.info.backend_pid
        self.messages: list[str] = []
        self.result: tuple | None = None
        self.error: psycopg.Error | None = None
        self._query = tune_query(**query)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _hear(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        self.messages.append(diagnostic.message_primary)

    def _run(self) -> None:
        try:
            self.result = self.connection.execute(self._query).fetchone()
        except psycopg.Error as error:
            self.error = error

    @property
    def waits(self) -> bool:
        return self._thread.is_alive()

    def end(self, seconds: float = 30) -> None:
        """Wait until the statement is over."""
        self._thread.join(seconds)
        assert not self.waits, f"the statement still runs after {seconds} s; it said {self.messages}"

    def heard(self, text: str, seconds: float = 30) -> str:
        """Wait for a message."""

        def find() -> str | None:
            assert self.waits or any(text in m for m in self.messages), f"over: {self.error or self.result}"
            return next((m for m in self.messages if text in m), None)

        return wait_until(find, f"the message {text!r}, of {self.messages}", seconds)

    def row(self, *columns: str) -> tuple:
        """Of the view pgml.jobs, the last job of the project."""
        query = f"SELECT {', '.join(columns)} FROM pgml.jobs WHERE project = %s LIMIT 1"
        rows = self.database.run(query, self.project)
        return rows[0] if rows else (None,) * len(columns)

    @property
    def status(self) -> str | None:
        return self.row("status")[0]

    @property
    def model_id(self) -> int:
        return self.row("model_id")[0]

    def reaches(self, status: str, seconds: float = 30) -> None:
        wait_until(lambda: self.status == status, f"status {status}, now {self.row('status', 'error')}", seconds)

    def trains(self, seconds: float = 60) -> int:
        """Wait until it has logged something; the process id of its trainer."""
        self.heard("loss ", seconds)
        return self.trainers()[0]

    def trainers(self) -> list[int]:
        return self.database.cluster.python_processes("pgml.runtime.train")

    def worker(self) -> int:
        query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pgml job' AND datname = %s"
        return self.database.value(query, self.database.name)

    def log_rows(self) -> int:
        return self.database.value("SELECT count(*) FROM pgml.logs WHERE model_id = %s", self.model_id)

    def close(self) -> None:
        if self.waits:
            with contextlib.suppress(psycopg.Error):
                self.connection.cancel_safe(timeout=5)
            self._thread.join(10)
        if not self.waits:
            self.connection.close()


def job_directories(database: Database) -> list[Path]:
    """What is left of jobs of any database."""
    return [path for path in (database.cluster.data / "pgml" / "jobs").glob("*/*") if path.is_dir()]


def is_running(pid: int) -> bool:
    """Whether any thread of it lives: the files of a killed process close with its last thread, not with its first."""
    try:
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
        return threads > 1 or "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def nothing_left(database: Database, seconds: float = 5) -> None:
    """No trainer and no job directory."""
    trainers = database.cluster.python_processes
    wait_until(lambda: not trainers("pgml.runtime.train"), "the trainers to end", seconds)
    wait_until(lambda: not job_directories(database), "the job directories to go", seconds)
