"""The image as its user has it: built by tools/docker-image, started, reached from outside."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster import Database
from tests.docker.containers import ROOT, Container, container, volume

PROJECTS = "CREATE TABLE projects (id int PRIMARY KEY, created_on timestamp, title text, description text, tag text)"


@pytest.fixture(scope="session")
def shared_directory() -> Iterator[Path]:
    """A place for what containers are to read, as their user 999."""
    directory = Path(tempfile.mkdtemp(prefix="pgml-docker-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def data_volume() -> Iterator[str]:
    with volume() as name:
        yield name


@pytest.fixture(scope="session")
def served(model_directory, data_volume) -> Iterator[Container]:
    """A container as README and guides start one, with the models of the tests and a volume."""
    mounts = ("--volume", f"{model_directory}:/srv/models:ro", "--volume", f"{data_volume}:/var/lib/postgresql/data")
    with container(*mounts, command=("-c", "pgml.hub_offline=on")) as made:
        yield made


@pytest.fixture(scope="session")
def database(served) -> Database:
    """Its database, with rows to learn from."""
    database = served.database()
    projects = (ROOT / "examples" / "made_with_ml" / "projects.csv").read_text()
    with database.connect() as connection:
        connection.execute(PROJECTS)
        with connection.cursor().copy("COPY projects FROM STDIN WITH (FORMAT csv, HEADER)") as copy:
            copy.write(projects)
    return database
