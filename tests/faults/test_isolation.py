"""Files, sockets and processes: private, apart from PostgreSQL's and from each other, robust against leftovers."""

from __future__ import annotations

import os
import signal
import socket
import stat
from pathlib import Path

import psycopg
import pytest
from tests.cluster import drop_database, make_database, wait_until
from tests.faults.tuning import REVIEWS, job_directories, nothing_left

CLASSIFY = (
    """SELECT pgml.transform('{"task": "text-classification", "model": "bert-classifier"}', '{}', ARRAY['a film'])"""
)


@pytest.fixture
def other(cluster):
    """A second database."""
    other = make_database(cluster)
    other.run(REVIEWS.replace("'good'", "'yes'").replace("'bad'", "'no'"))
    yield other
    drop_database(other)


def test_the_directory_is_for_the_servers_user_only(cluster, database):
    database.run(CLASSIFY)
    home = cluster.data / "pgml"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "runtime.sock").stat().st_mode) == 0o600


def test_child_processes_have_nothing_of_postgresql(cluster, tune, fake_trainer):
    tuning = tune()
    tuning.trains()
    (trainer,) = tuning.trainers()
    (server,) = cluster.python_processes("pgml.runtime.serve")
    for pid in (trainer, server):
        assert os.getsid(pid) == os.getpgid(pid) == pid
        assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "900"
        proc = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert int(proc["SigBlk"], 16) == 0
        # Python itself ignores SIGPIPE and SIGXFSZ.
        python = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
        assert int(proc["SigIgn"], 16) & ~python == 0
        targets = {int(fd.name): str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}
        assert targets[0] == "/dev/null"
        assert not [t for t in targets.values() if t.startswith(f"{cluster.data}/") and "/pgml/" not in t]
    assert {int(fd.name) for fd in Path(f"/proc/{trainer}/fd").iterdir()} == {0, 1, 2}


def test_a_real_trainer_has_no_connection_to_anything(cluster, tune):
    tuning = tune()
    trainer = tuning.trains()
    targets = [str(fd.readlink()) for fd in Path(f"/proc/{trainer}/fd").iterdir()]
    assert not [t for t in targets if t.startswith("socket:")]
    assert not [t for t in targets if t.startswith(f"{cluster.data}/") and "/pgml/" not in t]


def plant(home, database, oid):
    """What crashes, and people, leave behind."""
    jobs = home / "jobs" / str(oid)
    for name in ("97", "98", "99", "not-a-number"):
        (jobs / name).mkdir(parents=True, exist_ok=True)
    (jobs / "98" / "job.json").write_text("{broken")
    (jobs / "99" / "rows.arrow").write_text("half a stream")
    (home / "jobs" / "999999" / "1").mkdir(parents=True)
    (home / "runtime.json").write_text('{"phase": "ready", "pid": 1, "supervisor_pid": 1}')
    (home / "runtime.sock").unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as nobody:
        here = Path.cwd()
        os.chdir(home)
        nobody.bind("runtime.sock")
        os.chdir(here)
    (home / "restart").write_text("")
    (home / "runtime.sock.4711").write_text("")
    for path in [home, *home.rglob("*")]:
        os.chown(path, home.stat().st_uid, home.stat().st_gid)


def test_leftovers_do_no_harm(cluster, database, tune, interpreter):
    database.run(CLASSIFY)
    oid = database.value("SELECT oid FROM pg_database WHERE datname = current_database()")
    cluster.stop()
    plant(cluster.data / "pgml", database, oid)
    cluster.start()
    assert database.value("SELECT state FROM pgml.runtime_status()") == "stopped"
    assert database.value(CLASSIFY)[0]["label"]
    wait_until(lambda: {d.name for d in job_directories(database)} <= {"not-a-number"}, "leftovers to go")
    with interpreter.fake_trainer("--steps 3"):
        tuning = tune()
        tuning.end(20)
    assert tuning.result[0] == "successful"
    (cluster.data / "pgml" / "jobs" / str(oid) / "not-a-number").rmdir()


def test_a_broken_state_file_does_no_harm(cluster, database):
    database.run(CLASSIFY)
    cluster.stop()
    (cluster.data / "pgml" / "runtime.json").write_text("no json")
    cluster.start()
    assert database.value("SELECT state FROM pgml.runtime_status()") == "stopped"
    assert database.value(CLASSIFY)[0]["label"]


def test_a_directory_of_the_next_job_is_there_already(cluster, database, tune, interpreter):
    oid = database.value("SELECT oid FROM pg_database WHERE datname = current_database()")
    database.run(CLASSIFY)
    stale = cluster.data / "pgml" / "jobs" / str(oid) / "1"
    stale.mkdir(parents=True)
    (stale / "cancel").write_text("")
    (stale / "rows.arrow").write_text("other rows")
    owner = (cluster.data / "pgml").stat()
    for path in (stale.parent, stale, *stale.iterdir()):
        os.chown(path, owner.st_uid, owner.st_gid)
    with interpreter.fake_trainer("--steps 3"):
        tuning = tune()
        tuning.end(20)
    assert (tuning.result[0], tuning.result[4]) == ("successful", 1)


def test_model_ids_of_two_databases_do_not_mix(cluster, database, other, tune, fake_trainer, cluster_settings):
    cluster_settings("pgml.max_jobs", 2)
    here, there = tune(), tune(database=other)
    here.trains()
    there.trains()
    assert here.model_id == there.model_id == 1
    assert database.value("SELECT pgml.cancel(1)") is True
    here.end(5)
    assert here.error.sqlstate == "57014"
    here.reaches("cancelled", 2)
    assert there.waits
    assert there.status == "in_progress"
    assert len(there.trainers()) == 1


def test_predictions_of_two_databases_do_not_mix(database, other, tune):
    for each in (database, other):
        tuning = tune(database=each, num_train_epochs=1)
        tuning.end(60)
        assert tuning.result[0] == "successful"
    predict = "SELECT pgml.predict('tags', 'a film')->>'label'"
    for _ in range(2):
        assert database.value(predict) in {"good", "bad"}
        assert other.value(predict) in {"yes", "no"}
    # One server process, and nobody sees what the other database has loaded.
    assert database.value("SELECT count(*) FROM pgml.loaded_models WHERE digest IS NOT NULL") == 1


def test_a_database_can_be_dropped_while_the_runtime_runs(cluster, database):
    doomed = make_database(cluster)
    doomed.run(CLASSIFY)
    with cluster.connect() as connection:
        connection.execute(f"DROP DATABASE {doomed.name}")
    with cluster.connect() as connection:
        connection.execute("CREATE DATABASE copy TEMPLATE template1")
        connection.execute("DROP DATABASE copy")


def test_a_database_with_a_job_can_be_dropped_by_force(cluster, tune, fake_trainer, database):
    doomed = make_database(cluster)
    doomed.run(REVIEWS)
    tuning = tune(database=doomed)
    tuning.trains()
    with cluster.connect() as connection:
        with pytest.raises(psycopg.errors.ObjectInUse):
            connection.execute(f"DROP DATABASE {doomed.name}")
        connection.execute(f"DROP DATABASE {doomed.name} WITH (FORCE)")
    tuning.end(5)
    nothing_left(database)


def test_a_dropped_extension_takes_its_jobs_along_without_harm(cluster, database, tune, fake_trainer):
    tuning = tune(more=", wait => false")
    tuning.end()
    wait_until(tuning.log_rows, "logs")
    database.run("SET lock_timeout = '5s'; DROP EXTENSION pgml CASCADE")
    nothing_left(database)
    database.run("CREATE EXTENSION pgml")
    assert database.value(CLASSIFY)[0]["label"]
