"""What the doctor says to a person who has just installed pgml."""

from __future__ import annotations

import pytest
from tests.cluster import Database, throwaway

from pgml.doctor import examine


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A server with the files of the extension, that knows next to nothing of it yet."""
    models = tmp_path_factory.mktemp("models")
    with throwaway(models, max_worker_processes="2") as cluster:
        yield cluster


def findings(cluster, user: str = "postgres", **settings: str) -> dict[str, object]:
    """What it finds, by what it looked at, with settings of the database."""
    database = Database(cluster, "postgres")
    for name, value in settings.items():
        database.run(f"ALTER SYSTEM SET pgml.{name} = '{value}'")
    cluster.reload()
    return {finding.what.partition(":")[0]: finding for finding in examine(cluster.url("postgres", user))}


def test_before_the_extension_is_created_all_else_is_looked_at(bare):
    found = findings(bare)
    assert list(found) == [
        "connection",
        "server",
        "encoding",
        "shared_preload_libraries",
        "extension",
        "library",
        "max_worker_processes",
        "pgml.python",
        "packages",
        "pgml.model_directories",
    ]
    assert (found["extension"].state, found["library"].state) == ("problem", "ok")
    assert found["extension"].mend == "CREATE EXTENSION pgml; as a superuser of the server."
    assert found["pgml.python"].what.endswith("is not running")
    assert found["packages"].state == "ok"


def test_an_ordinary_user_is_told_of_the_extension_alone(bare):
    Database(bare, "postgres").run("CREATE ROLE guest LOGIN")
    assert list(findings(bare, "guest"))[-1] == "extension"


def test_too_few_worker_processes(bare):
    found = findings(bare)["max_worker_processes"]
    assert (found.state, found.what) == ("warning", "max_worker_processes: 2 is too few for pgml.max_jobs = 1")
    assert found.mend.startswith("Set it to 5 or more")


def test_what_the_server_cannot_read(bare, tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0)
    try:
        found = findings(bare, python=f"{hidden}/bin/python", model_directories=f"{bare.root}, {hidden}")
    finally:
        hidden.chmod(0o700)
    interpreter, directories = found["pgml.python"], found["pgml.model_directories"]
    assert interpreter.state == "problem"
    assert interpreter.what == f"pgml.python: the server cannot read {hidden}/bin/python: Permission denied"
    assert (directories.state, directories.what) == ("problem", f"pgml.model_directories: cannot be read: {hidden}")
