"""What a job shows while it runs and leaves when it is done: logs, progress, metrics, files, split, deployment."""

from __future__ import annotations

import hashlib
import io
import threading
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pytest
from psycopg.rows import dict_row, namedtuple_row
from tests.integration.jobs import (
    LONG,
    QUICK,
    REVIEWS,
    listen,
    recorded,
    snapshot_of,
    tune,
    tune_reviews,
    wait_for,
)

EPOCHS = 40
# The former name of eval_strategy, as scripts have it.
WATCHED = {"training_args": {"num_train_epochs": EPOCHS, "learning_rate": 0.01, "evaluation_strategy": "epoch"}}
KEYS = {"loss", "grad_norm", "learning_rate", "epoch", "step", "max_steps", "timestamp"}
EVAL_KEYS = {"eval_loss", "eval_accuracy", "eval_f1", "epoch", "step", "max_steps", "timestamp"}


def in_background(work) -> tuple[threading.Thread, SimpleNamespace]:
    """Run `work` in a thread; what it gives or raises is in the second value."""
    outcome = SimpleNamespace(value=None, error=None)

    def run() -> None:
        try:
            outcome.value = work()
        except Exception as error:  # noqa: BLE001  the test asserts that there is none
            outcome.error = error

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


@pytest.fixture(scope="module")
def watched(shared):
    """A job that a second session watched: what it saw, what the waiting client heard, and what came out."""
    shared.run(REVIEWS)
    seen = []
    with shared.connect() as waiting, shared.connect(row_factory=dict_row) as watching:
        heard = listen(waiting)
        thread, outcome = in_background(lambda: tune_reviews(waiting, "watched", hyperparams=WATCHED))
        while thread.is_alive():
            seen += watching.execute(
                """SELECT j.*, (SELECT count(*) FROM pgml.logs l WHERE l.model_id = j.model_id) AS logs,
                          (SELECT count(*) FROM pgml.files f WHERE f.model_id = j.model_id) AS files
                   FROM pgml.jobs j"""
            ).fetchall()
            thread.join(0.05)
    assert outcome.error is None
    return SimpleNamespace(database=shared, heard=heard, seen=seen, row=outcome.value)


def test_the_row_says_how_it_went(watched):
    row = watched.row
    assert (row.status, row.task, row.algorithm, row.deployed) == (
        "successful",
        "text_classification",
        "transformers",
        True,
    )
    assert row.metrics == watched.database.value("SELECT metrics FROM pgml.models WHERE id = %s", row.model_id)


def test_another_session_sees_logs_and_progress_while_the_job_runs(watched):
    training = [job for job in watched.seen if job["status"] == "in_progress" and job["logs"] > 0]
    assert len({job["logs"] for job in training}) > 1
    moving = [job for job in training if job["step"] and job["max_steps"] > job["step"]]
    assert moving
    for job in moving:
        assert float(job["share_done"]) == pytest.approx(job["step"] / job["max_steps"], abs=0.001)
        assert job["steps_per_second"] > 0
        assert job["time_left"] is not None
    assert [job["step"] for job in training] == sorted(job["step"] or 0 for job in training)


def test_a_model_is_successful_when_its_files_are_there_and_not_before(watched):
    assert {(job["status"], job["files"] > 0) for job in watched.seen} <= {
        ("queued", False),
        ("in_progress", False),
        ("successful", True),
    }


def test_the_job_is_done_in_the_view(watched):
    job = wait_for(watched.database, watched.row.model_id)
    assert (job.status, job.project, job.share_done, job.base_model) == ("successful", "watched", 1, "bert")
    assert job.step == job.max_steps == EPOCHS * 4
    assert job.created_at
    assert job.started_at < job.finished_at
    assert job.time_left is None
    assert job.error is None


def test_log_rows_have_the_keys_that_scripts_read(watched):
    rows = watched.database.run(
        "SELECT logs, created_at, project_id FROM pgml.logs WHERE model_id = %s ORDER BY id", watched.row.model_id
    )
    logs = [row for row, _, _ in rows]
    losses = [row for row in logs if "loss" in row]
    assert losses[0].keys() >= KEYS
    assert losses[-1]["loss"] < losses[0]["loss"]
    evaluations = [row for row in logs if "eval_loss" in row]
    assert len(evaluations) == EPOCHS
    assert evaluations[0].keys() >= EVAL_KEYS
    assert any("train_runtime" in row for row in logs)
    assert [row["step"] for row in logs] == sorted(row["step"] for row in logs)
    assert {row["max_steps"] for row in logs} == {EPOCHS * 4}
    for row, created_at, project_id in rows:
        told = datetime.fromisoformat(row["timestamp"]).replace(tzinfo=None)
        assert abs((created_at - told).total_seconds()) < 0.001
        assert project_id is not None
    assert len({created_at for _, created_at, _ in rows}) > EPOCHS


def test_each_log_row_is_an_info_to_the_waiting_client(watched):
    infos = [text for severity, text in watched.heard if severity == "INFO"]
    query = "SELECT count(*) FROM pgml.logs WHERE model_id = %s"
    assert len(infos) == watched.database.value(query, watched.row.model_id)
    assert any("loss" in text for text in infos)
    assert any("eval_f1" in text for text in infos)


def test_notices_say_what_happens_before_the_first_step(watched):
    severities = [severity for severity, _ in watched.heard]
    before = [text for severity, text in watched.heard[: severities.index("INFO")] if severity == "NOTICE"]
    assert any("reading the rows of public.reviews" in text for text in before)
    assert any("loading" in text for text in before)
    assert any("evaluation_strategy is eval_strategy" in text for text in before)


def test_metrics(watched):
    metrics = watched.row.metrics
    assert metrics.keys() >= set(
        "accuracy f1 loss classes confusion_matrix train_runtime train_samples_per_second train_tokens_per_second "
        "peak_memory_bytes total_flos truncated_rows".split()
    )
    assert metrics["accuracy"] == metrics["f1"] == 1
    assert metrics["classes"].keys() == {"good", "bad"}
    assert metrics["classes"]["good"] == {"precision": 1, "recall": 1, "f1": 1, "support": 10}
    assert metrics["confusion_matrix"] == {"labels": ["bad", "good"], "matrix": [[10, 0], [0, 10]]}
    assert metrics["truncated_rows"] == 0
    assert metrics["peak_memory_bytes"] > 50 << 20


def test_files_reassemble_to_a_model_without_secrets_and_pickles(watched):
    rows = watched.database.run(
        "SELECT path, part, data, size, sha256 FROM pgml.files WHERE model_id = %s ORDER BY path, part",
        watched.row.model_id,
    )
    files: dict[str, list] = {}
    for path, *rest in rows:
        files.setdefault(path, []).append(rest)
    assert files.keys() >= {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "pgml.json"}
    assert not [path for path in files if path.endswith((".bin", ".pt", ".pkl"))]
    for parts in files.values():
        content = b"".join(data for _, data, _, _ in parts)
        assert [part for part, *_ in parts] == list(range(len(parts)))
        assert {(size, digest) for _, _, size, digest in parts} == {(len(content), hashlib.sha256(content).hexdigest())}
        assert max(len(data) for _, data, _, _ in parts) <= 8 << 20
    config = watched.database.value(
        "SELECT convert_from(data, 'UTF8')::jsonb FROM pgml.files WHERE model_id = %s AND path = 'config.json'",
        watched.row.model_id,
    )
    assert config["id2label"] == {"0": "bad", "1": "good"}
    lines = "".join(f"{path}\0{parts[0][2]}\0{parts[0][3]}\n" for path, parts in sorted(files.items()))
    digest = watched.database.value("SELECT digest FROM pgml.models WHERE id = %s", watched.row.model_id)
    assert digest == hashlib.sha256(lines.encode()).hexdigest()


def test_the_same_seed_gives_the_same_files(watched):
    with watched.database.connect() as connection:
        twin = tune_reviews(connection, "twin", hyperparams=WATCHED)
        digests = connection.execute(
            "SELECT digest FROM pgml.models WHERE id IN (%s, %s)", [twin.model_id, watched.row.model_id]
        )
        assert len(set(digests.fetchall())) == 1
        assert snapshot_of(connection, twin.model_id).digest == snapshot_of(connection, watched.row.model_id).digest


def test_nothing_of_a_finished_job_stays_on_the_disk(watched):
    job = (
        f"'pgml/jobs/' || (SELECT oid FROM pg_database WHERE datname = current_database()) || '/{watched.row.model_id}'"
    )
    assert watched.database.run(f"SELECT * FROM pg_ls_dir({job}, true, false)") == []


@pytest.mark.parametrize("sampling", ["last", "random", "stratified"])
def test_a_split_is_disjoint_complete_and_the_same_for_the_same_seed(watched, sampling):
    def split(connection, seed: int):
        hyperparams = {"training_args": LONG["training_args"] | {"seed": seed}}
        job = tune_reviews(
            connection, "split", wait=False, hyperparams=hyperparams, test_sampling=sampling, test_size=0.3
        )
        snapshot = snapshot_of(connection, job.model_id)
        database = connection.execute("SELECT oid FROM pg_database WHERE datname = current_database()").fetchone()[0]
        read = "SELECT pg_read_binary_file(%s || name) FROM (VALUES ('train.npy'), ('test.npy')) AS v (name)"
        directory = f"pgml/jobs/{database}/{job.model_id}/"
        parts = [np.load(io.BytesIO(data)) for (data,) in connection.execute(read, [directory]).fetchall()]
        connection.execute("SELECT pgml.cancel(%s)", [job.model_id])
        return snapshot, *parts

    with watched.database.connect() as connection:
        first, train, test = split(connection, 7)
        assert sorted([*train, *test]) == list(range(80))
        assert (first.seed, first.train_rows, first.test_rows) == (7, 56, 24)
        assert (len(train), len(test)) == (56, 24)
        if sampling == "last":
            assert list(test) == list(range(56, 80))
        if sampling == "stratified":  # odd and even rows are the two classes
            assert sum(test % 2) == 12
        assert split(connection, 7)[0].digest == first.digest
        assert (split(connection, 8)[0].digest == first.digest) == (sampling == "last")


def test_a_test_part_larger_than_the_training_part_is_told(watched):
    with watched.database.connect() as connection:
        heard = listen(connection)
        snapshot = recorded(connection, "most held out", test_size=0.8)
    assert (snapshot.train_rows, snapshot.test_rows) == (16, 64)
    assert any("held out" in text and "64" in text for severity, text in heard if severity == "NOTICE")


@pytest.fixture(scope="module")
def second(watched):
    """A job of the same project, not waited for, that goes on from the deployed model and is not to be deployed."""
    with watched.database.connect() as connection:
        started = tune_reviews(
            connection, "watched", model_name="watched", automatic_deploy=False, wait=False, hyperparams=QUICK
        )
    assert started.status in ("queued", "in_progress")
    assert started.metrics is None
    assert not started.deployed
    wait_for(watched.database, started.model_id)
    return started


@pytest.fixture(scope="module")
def worse(watched, second):
    """A job that cannot learn: nothing of the texts but their first token is left."""
    with watched.database.connect() as connection:
        heard = listen(connection)
        arguments = {"training_args": {"max_steps": 1, "learning_rate": 1e-9, "eval_strategy": "no"}}
        arguments["tokenizer_args"] = {"max_length": 2}
        row = tune_reviews(connection, "watched", hyperparams=arguments)
    return SimpleNamespace(row=row, heard=heard)


def test_a_job_goes_on_from_the_weights_of_a_model(watched, second):
    first_loss = (
        "SELECT (logs->>'loss')::float8 FROM pgml.logs WHERE model_id = %s AND logs ? 'loss' ORDER BY id LIMIT 1"
    )
    database = watched.database
    assert wait_for(database, second.model_id).base_model == f"pgml:{watched.row.model_id}"
    assert database.value(first_loss, second.model_id) < database.value(first_loss, watched.row.model_id) - 0.1
    with database.connect() as connection:
        job = tune_reviews(connection, "watched", model_name=f"pgml:{second.model_id}", wait=False)
        connection.execute("SELECT pgml.cancel(%s)", [job.model_id])
    assert wait_for(database, job.model_id).base_model == f"pgml:{second.model_id}"


def test_a_model_that_is_not_to_be_deployed_is_not(watched, second):
    assert wait_for(watched.database, second.model_id).status == "successful"
    deployments = watched.database.run("SELECT FROM pgml.deployments WHERE model_id = %s", second.model_id)
    assert deployments == []


def test_a_worse_model_is_not_deployed(watched, worse):
    assert (worse.row.status, worse.row.deployed) == ("successful", False)
    assert worse.row.metrics["f1"] < 0.9
    assert any("not deployed" in text for _, text in worse.heard)
    assert watched.database.value("SELECT id FROM pgml.deployed_models WHERE name = 'watched'") == watched.row.model_id


def test_truncated_rows_are_counted_and_told(worse):
    assert worse.row.metrics["truncated_rows"] == 80
    assert any("80 of 80 rows" in text and "truncated" in text for _, text in worse.heard)


def test_strategies_of_deploy(watched, second, worse):
    database, first, last = watched.database, watched.row.model_id, worse.row.model_id

    def deploy(arguments: str) -> tuple:
        assert database.run(f"SELECT * FROM pgml.deploy({arguments})") == [
            ("watched", strategy_of(arguments), "transformers")
        ]
        return database.value("SELECT id FROM pgml.deployed_models WHERE name = 'watched'")

    def strategy_of(arguments: str) -> str:
        return arguments.split("'")[3] if "'" in arguments else "specific"

    assert deploy("'watched', 'most_recent'") == last
    assert deploy("'watched', 'rollback'") == first
    assert deploy("'watched', 'rollback'") == last
    assert deploy("'watched', 'best_score'") in (first, second.model_id)
    assert deploy(str(last)) == last
    assert deploy("'watched', 'best_score', 'transformers'") in (first, second.model_id)
    assert deploy(f"model_id => {first}") == first
    deploy("'watched', 'new_score'")
    with database.connect(row_factory=namedtuple_row) as connection:
        rows = connection.execute("SELECT id, deployed FROM pgml.trained_models WHERE name = 'watched'").fetchall()
    assert sum(row.deployed for row in rows) == 1
    assert {row.id for row in rows} == {first, second.model_id, last}


def test_a_small_class_a_single_row_and_no_one_who_waits(database):
    """Each class' share of the test part is within one row of exact; the single row is trained on."""
    database.run(
        """CREATE TABLE uneven AS SELECT label || ' text ' || i AS text, label
           FROM (VALUES ('a', 61), ('b', 23), ('c', 7), ('d', 1)) AS v (label, n), generate_series(1, n) AS i"""
    )
    with database.connect() as connection:
        heard = listen(connection)
        started = tune_reviews(connection, "uneven", relation_name="uneven", y_column_name="label", wait=False)
        assert any("single row" in text and '"d"' in text for _, text in heard)
    assert started.status in ("queued", "in_progress")
    assert wait_for(database, started.model_id).status == "successful"
    metrics = database.value("SELECT metrics FROM pgml.models WHERE id = %s", started.model_id)
    support = {label: described["support"] for label, described in metrics["classes"].items()}
    for name, rows in (("a", 61), ("b", 23), ("c", 7)):
        assert abs(support[name] - rows / 4) < 1
    assert support["d"] == 0
    assert database.value("SELECT id FROM pgml.deployed_models WHERE name = 'uneven'") == started.model_id


def test_a_project_name_alone_repeats_the_last_job(database):
    database.run(REVIEWS)
    database.run("ALTER TABLE reviews RENAME text TO body; CREATE TABLE other AS SELECT * FROM reviews")
    arguments = LONG | {"dataset_args": {"text_column": "body"}}
    with database.connect() as connection:
        recorded(connection, "again", relation_name="other", hyperparams=arguments)
        job = tune(connection, "again", wait=False)
        snapshot = snapshot_of(connection, job.model_id)
        connection.execute("SELECT pgml.cancel(%s)", [job.model_id])
    assert (snapshot.relation_name, snapshot.y_column_name) == ("other", ["verdict"])
    models = database.run("SELECT base_model, hyperparams FROM pgml.models ORDER BY id")
    assert models[0] == models[1]
