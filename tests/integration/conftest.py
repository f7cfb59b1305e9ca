"""Real clusters, databases and connections."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from tests.cluster import Cluster, throwaway

MINILM = "all-MiniLM-L6-v2"
ASSETS = Path(__file__).parents[1] / "assets"
numbers = itertools.count(1)


class Database:
    """One database of a cluster, with the extension in it."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def connect(self, user: str = "postgres", **options) -> psycopg.Connection:
        return self.cluster.connect(self.name, user, **options)

    def run(self, query: str, *arguments, user: str = "postgres") -> list[tuple]:
        """Run statements on a new connection; the rows of the last."""
        with self.connect(user) as connection:
            cursor = connection.execute(query, arguments or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, query: str, *arguments, user: str = "postgres"):
        return self.run(query, *arguments, user=user)[0][0]


def make_database(cluster: Cluster) -> Database:
    name = f"test_{next(numbers)}"
    with cluster.connect() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    database = Database(cluster, name)
    database.run("CREATE EXTENSION pgml")
    return database


@pytest.fixture(scope="session")
def model_directory() -> Iterator[Path]:
    """Tiny models and all-MiniLM-L6-v2, where the OS user of PostgreSQL can read them."""
    home = Path(tempfile.mkdtemp(prefix="pgml-models-", dir="/tmp"))
    subprocess.run([sys.executable, ASSETS / "make_models.py", home], check=True, capture_output=True)
    shutil.copytree(Path(os.environ["PGML_MODELS"]) / MINILM, home / MINILM)
    for path in [home, *home.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield home
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def cluster(model_directory) -> Iterator[Cluster]:
    """The cluster that most tests share. Without preload: the first statement starts the runtime."""
    with throwaway(model_directory) as cluster:
        yield cluster


@pytest.fixture
def database(cluster) -> Iterator[Database]:
    """An empty database with the extension."""
    database = make_database(cluster)
    yield database
    with cluster.connect() as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database.name)))


@pytest.fixture
def own_cluster(model_directory) -> Iterator[Cluster]:
    """A cluster that the test may hurt."""
    with throwaway(model_directory, shared_preload_libraries="pgml") as cluster:
        yield cluster
