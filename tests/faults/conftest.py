"""Clusters to hurt. A module has one of its own, which heals between its tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cluster import Cluster, Database, drop_database, make_database, throwaway, wait_until
from tests.faults.interpreter import Interpreter
from tests.faults.tuning import REVIEWS, Tuning


def pytest_collection_modifyitems(items):
    """What hangs here hangs because of a fault; no need to wait as long as for others."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(120))


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Interpreter]:
    """What pgml.python is."""
    interpreter = Interpreter()
    yield interpreter
    interpreter.remove()


@pytest.fixture(scope="module")
def cluster(model_directory, interpreter) -> Iterator[Cluster]:
    """Without preload."""
    with throwaway(model_directory, **{"pgml.python": str(interpreter.path)}) as cluster:
        yield cluster


@pytest.fixture
def database(cluster) -> Iterator[Database]:
    """A database with the extension and the table reviews."""
    database = make_database(cluster)
    database.run(REVIEWS)
    yield database
    drop_database(database)
    wait_until(lambda: not cluster.python_processes("pgml.runtime.train"), "the trainers to end")


@pytest.fixture
def cluster_settings(cluster, database) -> Iterator[Callable[[str, object], None]]:
    """Change settings of the cluster for one test."""
    changed = []

    def run(statement: str) -> None:
        # Names of an extension that no session has loaded are unknown.
        with database.connect() as connection:
            connection.execute("LOAD 'pgml'")
            connection.execute(statement)
            connection.execute("SELECT pg_reload_conf()")

    def change(name: str, value: object) -> None:
        changed.append(name)
        run(f"ALTER SYSTEM SET {name} = '{value}'")

    yield change
    for name in changed:
        run(f"ALTER SYSTEM RESET {name}")


@pytest.fixture
def tune(database) -> Iterator[Callable[..., Tuning]]:
    """Start tunings that are ended with the test."""
    started: list[Tuning] = []

    def start(**options) -> Tuning:
        started.append(Tuning(options.pop("database", database), **options))
        return started[-1]

    yield start
    for tuning in started:
        tuning.close()


@pytest.fixture
def fake_trainer(interpreter) -> Iterator[None]:
    """Jobs start at once and never end."""
    with interpreter.fake_trainer():
        yield
