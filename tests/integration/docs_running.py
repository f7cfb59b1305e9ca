"""Runs pages of the documentation, block after block, as a reader would type them."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import sql
from tests.cluster import Cluster, Database
from tests.docs_pages import ROOT, Block
from tests.integration.hub_database import set_for_all
from tests.integration.sdk import url_of

NAME = "app"
"""The database that every page has for itself."""


@dataclass
class Outcome:
    """What a block showed, and how it failed, if it did."""

    output: str
    error: str | None


class Mismatch(AssertionError):
    """A block did something else than its page says."""


@contextlib.contextmanager
def page_database(cluster: Cluster, **settings: Any) -> Iterator[Database]:
    """An empty database with the extension. Nothing that a page does to the cluster is left for the next one."""
    database = Database(cluster, NAME)
    with cluster.connect() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(NAME)))
        database.run("CREATE EXTENSION pgml")
        set_for_all(database, **settings)
        try:
            yield database
        finally:
            database.run("SELECT pgml.set_secret(name, NULL) FROM pgml.secret_names() AS name")
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(NAME)))
            _forget(connection)


def _forget(connection: Any) -> None:
    connection.execute("ALTER SYSTEM RESET ALL")
    connection.execute("ALTER ROLE postgres RESET ALL")
    for (role,) in connection.execute("SELECT rolname FROM pg_roles WHERE oid >= 16384").fetchall():
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
    connection.execute("SELECT pg_reload_conf()")


class PageRun:
    """One page: a database, a directory, and the names that its Python blocks share."""

    def __init__(self, page: str, database: Database, place: Path) -> None:
        self.page = page
        self.database = database
        self.place = place
        self.names: dict[str, Any] = {"__name__": "__main__"}
        for folder in ("examples", "tests"):
            (place / folder).symlink_to(ROOT / folder)
        (place / "srv").mkdir()

    def run(self, block: Block) -> None:
        """Run a block and compare. `/srv/` in it is a directory of this run, which the server can read."""
        where = f"{self.page}:{block.line}"
        text = self._at_home(block.text)
        outcome = self._sql(text) if block.language == "sql" else self._python(text, where)
        print(f"--- {where}\n{outcome.output}{outcome.error or ''}")
        if complaint := self._complaint(block, outcome):
            raise Mismatch(f"{where}: {complaint}\n\n{text}\nshowed:\n{outcome.output}{outcome.error or ''}")

    def _at_home(self, text: str) -> str:
        return text.replace("/srv/", f"{self.place}/srv/")

    def _complaint(self, block: Block, outcome: Outcome) -> str | None:
        if block.error is not None:
            if outcome.error is None:
                return f"the block should fail with: {block.error}"
            if not _holds(outcome.error, self._at_home(block.error)):
                return f"the block should fail otherwise, with: {block.error}"
            return None
        if outcome.error is not None:
            return "the block failed"
        missing = [text for text in block.expected if not _holds(outcome.output, self._at_home(text))]
        return f"the output lacks: {' · '.join(missing)}" if missing else None

    def _sql(self, text: str) -> Outcome:
        command = self.database.psql("-q", "-v", "ON_ERROR_STOP=1")
        done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=self.place, check=False)
        if done.returncode:
            return Outcome(done.stdout, done.stderr)
        return Outcome(done.stderr + done.stdout, None)

    def _python(self, text: str, where: str) -> Outcome:
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.chdir(self.place), self._environment():
            try:
                exec(compile(text, where, "exec"), self.names)
            except Exception as error:  # noqa: BLE001 whatever a page does wrong is for its reader to see
                return Outcome(shown.getvalue(), f"{type(error).__name__}: {error}")
        return Outcome(shown.getvalue(), None)

    @contextlib.contextmanager
    def _environment(self) -> Iterator[None]:
        before = os.environ.get("PGML_DATABASE_URL")
        os.environ["PGML_DATABASE_URL"] = url_of(self.database)
        try:
            yield
        finally:
            if before is None:
                del os.environ["PGML_DATABASE_URL"]
            else:
                os.environ["PGML_DATABASE_URL"] = before


def _holds(shown: str, text: str) -> bool:
    """Whether a text is there, however wide psql made the columns."""
    return " ".join(text.split()) in " ".join(shown.split())
