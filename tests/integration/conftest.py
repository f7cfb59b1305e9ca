"""Real clusters, databases and connections."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests import server
from tests.cluster import Cluster, Database, drop_database, make_database, throwaway
from tests.integration.hub_database import connected_to
from tests.integration.loading import told_cluster
from tests.server import Server


@pytest.fixture(scope="session")
def cluster(model_directory) -> Iterator[Cluster | Server]:
    """The cluster that most tests share. Without preload: the first statement starts the runtime."""
    if server.DSN:
        yield server.running()
        return
    with throwaway(model_directory) as cluster:
        yield cluster


@pytest.fixture
def database(cluster) -> Iterator[Database]:
    """An empty database with the extension."""
    database = make_database(cluster)
    yield database
    drop_database(database)


@pytest.fixture
def own_cluster(model_directory) -> Iterator[Cluster]:
    """A cluster that the test may hurt."""
    with throwaway(model_directory, shared_preload_libraries="pgml") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def shared(cluster) -> Iterator[Database]:
    """An empty database with the extension, which the tests of one file share."""
    database = make_database(cluster)
    yield database
    drop_database(database)


@pytest.fixture(scope="module")
def with_hub(cluster, shared_hub) -> Iterator[Database]:
    """A database with the extension that uses the Hub of the tests, which the tests of one file share."""
    shared_hub.heal()
    with connected_to(shared_hub, cluster) as database:
        yield database


@pytest.fixture(scope="session")
def told() -> Iterator[Cluster]:
    """A cluster whose runtime says what the tests of load_dataset tell it to."""
    with told_cluster() as cluster:
        yield cluster


@pytest.fixture
def told_database(told) -> Iterator[Database]:
    """An empty database of that cluster, with the extension."""
    database = make_database(told)
    yield database
    drop_database(database)
