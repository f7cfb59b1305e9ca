"""What examples/ shows runs as its READMEs say: scripts for psql, a nightly job, Python programs, a notebook, dbt.

All work on what `make demo` leaves: its rows, and a project "tags". Here a tiny model learns them, badly and at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from tests.cluster import Database, drop_database, make_database
from tests.integration.jobs import tune
from tests.integration.sdk import url_of

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
# Whoever has seen nearly nothing but "mlops" says nothing else.
ONE_SIDED = """
CREATE VIEW one_sided AS SELECT text, CASE WHEN id % 20 = 0 THEN tag ELSE 'mlops' END AS tag FROM tagged_projects
"""
GOOD, BAD = 1, 2  # ids of models


@pytest.fixture(scope="module")
def app(cluster) -> Iterator[Database]:
    """The rows of the demo and two models of the project "tags", of which the better one is deployed."""
    database = make_database(cluster)
    database.run_script(EXAMPLES / "made_with_ml" / "load.sql", ROOT)
    database.run(ONE_SIDED)
    training = {"max_steps": 30, "learning_rate": 0.01, "eval_strategy": "no", "logging_steps": 10}
    with database.connect() as connection:
        for relation in ("projects_to_learn", "one_sided"):
            tune(
                connection,
                "tags",
                task="text-classification",
                relation_name=relation,
                y_column_name="tag",
                model_name="bert",
                test_size=40,
                automatic_deploy=relation == "projects_to_learn",
                hyperparams={"training_args": training},
            )
    yield database
    drop_database(database)


def run(database, *command, cwd=ROOT, **environment) -> subprocess.CompletedProcess[str]:
    """Run a program that finds the database in its environment."""
    where = {"PGHOST": str(database.cluster.root), "PGUSER": "postgres", "PGDATABASE": database.name}
    path = f"{database.cluster.bin}{os.pathsep}{os.environ['PATH']}"
    given = os.environ | where | {"PATH": path, "PGML_DATABASE_URL": url_of(database)} | environment
    return subprocess.run(command, cwd=cwd, env=given, capture_output=True, text=True, check=False)


def shown(done) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def psql(database, script, **variables):
    options = [word for name, value in variables.items() for word in ("-v", f"{name}={value}")]
    return run(database, "psql", "-X", "-f", EXAMPLES / "psql" / script, *options)


def deployed(database):
    return database.value("SELECT id FROM pgml.deployed_models WHERE name = 'tags'")


def test_rows_without_a_prediction_are_predicted_once(app):
    shown(psql(app, "predict_missing.sql", chunk=300))
    counts = "SELECT count(*), count(*) FILTER (WHERE model_id = %s), max(predicted_at) FROM project_predictions"
    number, by_the_good_one, last = app.run(counts, GOOD)[0]
    assert number == by_the_good_one == app.value("SELECT count(*) FROM projects")
    shown(psql(app, "predict_missing.sql"))
    assert app.run(counts, GOOD)[0] == (number, number, last)
    said = shown(psql(app, "monitor.sql"))
    assert all(word in said for word in (" ready ", "0 to the highest", "2020-04-01"))


def test_two_models_answer_for_half_of_the_rows_each(app):
    said = shown(psql(app, "ab.sql", a=GOOD, b=BAD))
    assert "accuracy" in said
    sides = app.run("SELECT variant, model_id, count(*) FROM ab_answers GROUP BY 1, 2 ORDER BY 1")
    assert [side[:2] for side in sides] == [("a", GOOD), ("b", BAD)]
    assert sum(side[2] for side in sides) == app.value("SELECT count(*) FROM exam_rows")
    assert min(side[2] for side in sides) > 60


def test_only_a_model_that_passes_the_exam_is_deployed_and_can_be_rolled_back(app):
    refused = psql(app, "deploy.sql", candidate=BAD)
    assert refused.returncode == 3
    assert "did not pass" in refused.stderr
    assert deployed(app) == GOOD

    app.run("SELECT pgml.deploy(%s)", BAD)
    shown(psql(app, "deploy.sql", candidate=GOOD))
    assert deployed(app) == GOOD
    shown(psql(app, "rollback.sql"))
    assert deployed(app) == BAD
    shown(psql(app, "rollback.sql"))
    assert deployed(app) == GOOD


def nightly(database, log, **more):
    return run(database, EXAMPLES / "cron" / "nightly.sh", LOG=str(log), MAX_STEPS="5", **more)


def test_a_night_learns_new_rows_and_keeps_the_better_model(app, tmp_path):
    log = tmp_path / "nightly.log"
    failed = nightly(app, log, PROJECT="nobody")
    assert (failed.returncode, failed.stderr) == (1, f"pgml nightly: failed, see {log}\n")
    assert "error" in log.read_text().lower()

    with (tmp_path / "nightly.log.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert nightly(app, log).returncode == 75

    before = deployed(app)
    shown(nightly(app, log))
    (night,) = app.run("SELECT model_id, f1_before, f1_after, deployed FROM nightly_runs")
    model_id, f1_before, f1_after, was_deployed = night
    assert was_deployed == (f1_after > f1_before)
    assert deployed(app) == (model_id if was_deployed else before)
    assert app.value("SELECT base_model FROM pgml.models WHERE id = %s", model_id) == f"pgml:{before}"

    again = nightly(app, log)
    assert (again.returncode, again.stderr) == (0, "")
    assert "nothing to do" in log.read_text()
    assert app.value("SELECT count(*) FROM nightly_runs") == 1
    app.run("SELECT pgml.deploy(%s)", GOOD)


def test_the_crontab_starts_a_program_that_is_there():
    lines = (EXAMPLES / "cron" / "crontab").read_text().splitlines()
    (job,) = [line for line in lines if line[:1].isdigit()]
    *times, _log, program = job.split()
    assert len(times) == 5
    assert os.access(EXAMPLES / "cron" / Path(program).name, os.X_OK)


@pytest.mark.parametrize(
    ("program", "wanted"),
    [
        (["pandas_predict.py"], ["prediction", "score", "Kubernetes"]),
        (["sqlalchemy_batch.py"], ["Canary releases: ", "Tumours: "]),
        (["similar.py", "detecting objects in videos"], ["Object"]),
    ],
    ids=lambda given: given[0],
)
def test_python_programs(app, program, wanted):
    script, *arguments = program
    said = shown(run(app, sys.executable, "-W", "error", EXAMPLES / "python" / script, *arguments))
    assert all(word in said for word in wanted), said


def pictures(notebook):
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]


def test_the_notebook_runs_and_shows_what_it_showed(app, tmp_path, monkeypatch):
    file = EXAMPLES / "notebook" / "tags.ipynb"
    assert file.stat().st_size < 150_000
    committed = nbformat.read(file, as_version=4)
    assert len(pictures(committed)) == 2
    monkeypatch.setenv("PGML_DATABASE_URL", url_of(app))
    for name in ("IPYTHONDIR", "MPLCONFIGDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    for cell in committed.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    NotebookClient(committed, timeout=120, kernel_name="python3").execute()
    assert len(pictures(committed)) == 2
    texts = [output.text for cell in committed.cells for output in cell.get("outputs", []) if "text" in output]
    assert any("macro F1" in text for text in texts)


def test_dbt_builds_the_predictions_and_then_only_what_is_new(app, tmp_path):
    subprocess.run([ROOT / "tools" / "setup-clients", "dbt"], check=True)
    dbt = ROOT / ".cache" / "clients" / "dbt" / "bin" / "dbt"
    places = {"DBT_TARGET_PATH": str(tmp_path / "target"), "DBT_LOG_PATH": str(tmp_path / "logs")}

    def build():
        shown(run(app, dbt, "build", "--profiles-dir", ".", cwd=EXAMPLES / "dbt", **places))
        results = json.loads((tmp_path / "target" / "run_results.json").read_text())["results"]
        assert {result["status"] for result in results} == {"success", "pass"}
        return app.run("SELECT count(*), max(predicted_at), count(DISTINCT id) FROM project_predictions")[0]

    app.run("DROP TABLE IF EXISTS project_predictions")
    number, last, different = build()
    assert number == different == app.value("SELECT count(*) FROM projects")
    app.run("INSERT INTO projects VALUES (200001, now(), 'One more', 'It came after the first run.', NULL)")
    number_then, _, _ = build()
    assert number_then == number + 1
    assert app.value("SELECT count(*) FROM project_predictions WHERE predicted_at <= %s", last) == number
