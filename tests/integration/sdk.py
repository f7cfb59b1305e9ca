"""What the tests of the client share: how it reaches a database of the tests, and what it does there at the moment."""

from __future__ import annotations

from tests.cluster import Database, wait_until

MODEL = "llama-chat"
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who are you? “Wörld”"}]
GREEDY = {"max_tokens": 12, "temperature": 0}
TALKER = "llama-endless"
"""It goes on for longer than a test takes."""
ENDLESS = {"max_tokens": 500_000}


def url_of(database: Database, user: str = "postgres") -> str:
    return database.cluster.url(database.name, user)


def running(database: Database) -> int:
    """How many statements of clients generate at the moment."""
    return database.value(
        """SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND datname = current_database()
           AND query LIKE 'SELECT pgml.transform%%' AND pid <> pg_backend_pid()"""
    )


def connected(database: Database) -> int:
    return database.value(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgml' AND datname = current_database()"
    )


def wait_until_idle(database: Database, seconds: float = 2) -> None:
    wait_until(lambda: not running(database), "the server to stop generating", seconds)
