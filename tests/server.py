"""A server that runs already, named by PGML_TEST_DSN: tests that only speak SQL make their databases there.

It takes the place of a `Cluster` where a `Database` or a fixture needs no more than connections.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from tests.cluster import PG_CONFIG

DSN = os.environ.get("PGML_TEST_DSN", "")
MODELS = os.environ.get("PGML_TEST_MODELS", "")
"""The models of the tests, in the same place here and at the server. Made by tests/assets/make_models.py."""
HUB = {"hub", "hub_api", "shared_hub", "with_hub"}
NEEDED = {"max_worker_processes": "12", "pgml.hub_offline": "on", "pgml.model_directories": MODELS}


class Server:
    """Connects as the superuser of the DSN, which tests call postgres, and as roles that tests made."""

    def __init__(self, dsn: str) -> None:
        self.known = conninfo_to_dict(dsn)
        self.known.setdefault("password", os.environ.get("PGPASSWORD", ""))
        self.bin = Path(subprocess.check_output([PG_CONFIG, "--bindir"], text=True).strip())

    def check(self) -> None:
        """Say what the server lacks before tests fail of it."""
        with self.connect() as connection:
            found = {name: connection.execute(f"SHOW {name}").fetchone()[0] for name in NEEDED}
        options = " ".join(f"-c {name}={value}" for name, value in NEEDED.items() if found[name] != value)
        assert MODELS, "PGML_TEST_DSN goes with PGML_TEST_MODELS, the directory of the models at the server"
        assert not options, f"the server of PGML_TEST_DSN has to be started with {options}"

    def connect(self, dbname: str = "postgres", user: str = "postgres", **options: Any) -> psycopg.Connection:
        options.setdefault("autocommit", True)
        return psycopg.connect(**self.known | {"dbname": dbname, "user": self._let_in(user)}, **options)

    def url(self, dbname: str, user: str = "postgres") -> str:
        """A URL that libpq and the outside clients understand alike."""
        login = f"{quote(self._let_in(user))}:{quote(self.known['password'], safe='')}"
        query = urlencode({"host": self.known["host"], "port": self.known.get("port", 5432)})
        return f"postgresql://{login}@/{dbname}?{query}"

    def _let_in(self, user: str) -> str:
        """The name to log in with. Roles of tests get the superuser's password: the server asks for one."""
        if user in ("postgres", self.known["user"]):
            return self.known["user"]
        with self.connect() as connection:
            statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(user), self.known["password"])
            connection.execute(statement)
        return user

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"a server that runs elsewhere has no {name}: mark the test private_cluster")


def running() -> Server:
    """The server of PGML_TEST_DSN."""
    server = Server(DSN)
    server.check()
    return server


def why_not(item: Any) -> str | None:
    """Why a test cannot run at a server that runs elsewhere; None if it can."""
    marker = item.get_closest_marker("private_cluster")
    if marker:
        return marker.args[0]
    if "cluster" not in item.fixturenames or item.path.parent.name != "integration":
        return "no cluster, or one of its own"
    if HUB & set(item.fixturenames):
        return "the server would have to reach the Hub of the tests"
    return None
