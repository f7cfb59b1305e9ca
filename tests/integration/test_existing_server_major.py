"""`pg_upgrade`: the files of a cluster move into a new one, as they do to a new major version."""

from __future__ import annotations

import os
import subprocess

import pytest
from tests.cluster import Cluster, Database, make_database
from tests.integration.jobs import REVIEWS, tune_reviews

PREDICT = "SELECT pgml.predict('reviews', ARRAY['a joy', 'no sense', 'neither'])"
PRELOAD = {"shared_preload_libraries": "pgml"}


@pytest.fixture
def old(model_directory):
    cluster = Cluster(model_directory, **PRELOAD)
    yield cluster
    cluster.remove()


@pytest.fixture
def new(model_directory):
    cluster = Cluster(model_directory, **PRELOAD)
    yield cluster
    cluster.remove()


def pg_upgrade(old: Cluster, new: Cluster) -> str:
    command = [old.bin / "pg_upgrade", "--link", "-b", old.bin, "-B", new.bin, "-d", old.data, "-D", new.data]
    command += ["-U", "postgres", "-s", new.root]
    if os.getuid() == 0:
        command = ["runuser", "-u", old.user, "--", *command]
    done = subprocess.run(command, cwd=new.root, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_models_predict_the_same_after_pg_upgrade(old, new):
    old.start()
    database = make_database(old)
    database.run(REVIEWS)
    with database.connect() as connection:
        tune_reviews(connection)
    before = database.value(PREDICT)
    files = database.run("SELECT model_id, path, part, sha256, md5(data) FROM pgml.files ORDER BY id")
    old.stop()

    assert "Upgrade Complete" in pg_upgrade(old, new)
    assert not (new.data / "pgml").exists()  # no runtime was started for it

    new.start()
    database = Database(new, database.name)
    assert database.run("SELECT model_id, path, part, sha256, md5(data) FROM pgml.files ORDER BY id") == files
    assert database.value(PREDICT) == before
    with database.connect() as connection:
        again = tune_reviews(connection)
    assert (again.status, again.model_id) == ("successful", 2)
