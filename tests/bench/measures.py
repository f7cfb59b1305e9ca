"""The measures. Each gives rows for the table."""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.setting import EXAMPLE, MINILM, Setting
from tests.bench.table import Row

MEGABYTE = 1 << 20
# What python/pgml/runtime/train.py sets for itself.
TRAINERS_ENVIRONMENT = {
    "GOMP_SPINCOUNT": "2000",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
}
TEXT = "Deploying transformers with Kubernetes and canary releases"


def seconds(work: Callable[[], Any]) -> float:
    """How long it took."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def predict_on_a_new_connection(setting: Setting) -> list[Row]:
    """One prediction on a new connection against one in a new Python process."""
    database, project, directory = setting.database, setting.project, setting.project_directory

    def ours() -> None:
        database.value("SELECT pgml.predict(%s, %s)", project, TEXT)

    ours()
    setting.python("cold_predict.py", directory, TEXT)
    warm, cold = [], []
    for _ in range(setting.rounds(5)):
        warm.append(statistics.median(seconds(ours) for _ in range(10)))
        cold.append(seconds(lambda: setting.python("cold_predict.py", directory, TEXT)))
    ratio = statistics.median(c / w for c, w in zip(cold, warm, strict=True))
    return [
        Row(
            what="predict: first prediction",
            pgml=f"{statistics.median(warm) * 1000:.1f} ms",
            compared=f"{statistics.median(cold):.2f} s",
            ratio=f"{ratio:.0f} x faster",
            goal=">= 50 x",
            how="connect, pgml.predict of one short text, disconnect, while the server process has the model loaded; "
            "against a new Python process that loads the same model in transformers.pipeline and classifies the text",
        )
    ]


def transform_of_many_texts(setting: Setting) -> list[Row]:
    """1,000 short texts in one array against a pipeline that takes them one by one."""
    texts, model = setting.texts(1000), setting.models / "classifier"
    task = json.dumps({"task": "text-classification", "model": "classifier"})
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file, setting.database.connect() as connection:
        json.dump(texts, file)
        file.flush()
        with setting.peer("row_by_row.py", model, file.name) as peer:

            def ours() -> list[str]:
                query = "SELECT pgml.transform(%s::jsonb, '{}', %s::text[])"
                return [answer["label"] for answer in connection.execute(query, [task, texts]).fetchone()[0]]

            ours()
            array, single, agree = [], [], 0.0
            for _ in range(setting.rounds(3)):
                start = time.perf_counter()
                labels = ours()
                array.append(time.perf_counter() - start)
                taken, theirs = peer(None)
                single.append(taken)
                agree = sum(a == b for a, b in zip(labels, theirs, strict=True)) / len(texts)
    ratio = statistics.median(s / a for s, a in zip(single, array, strict=True))
    return [
        Row(
            what="transform: 1,000 short texts",
            pgml=f"{len(texts) / statistics.median(array):.0f} rows/s",
            compared=f"{len(texts) / statistics.median(single):.0f} rows/s",
            ratio=f"{ratio:.2f} x faster",
            goal=">= 1.5 x",
            how="titles in one array through pgml.transform, MiniLM with a classification head; against "
            f"transformers.pipeline called for each text in a warm process; {agree:.1%} of the labels are the same",
        )
    ]


def overhead_of_tune(setting: Setting) -> list[Row]:
    """The example's tune against the same Trainer in a plain script."""
    database = setting.database
    tune = (EXAMPLE / "tune.sql").read_text()
    task = json.dumps({"task": "text-classification", "model": "classifier"})
    database.value("SELECT pgml.transform(%s::jsonb, '{}', ARRAY['starts the runtime'])", task)
    ours: list[float] = []
    theirs: dict[str, list[float]] = {"as it is": [], "set like pgml's trainer": []}
    with tempfile.TemporaryDirectory(prefix="pgml-plain-") as home:
        settings = Path(home, "settings.json")
        for number in range(setting.rounds(2)):
            ours.append(seconds(lambda: database.run(tune)))
            settings.write_text(json.dumps(plain_settings(setting)))
            for name, environment in zip(theirs, ({}, TRAINERS_ENVIRONMENT), strict=True):
                target = Path(home, f"{name} {number}")
                start = time.perf_counter()
                setting.python("plain_training.py", settings, target, **environment)
                theirs[name].append(time.perf_counter() - start)
                shutil.rmtree(target)
    how = (
        "examples/made_with_ml/tune.sql, rows read, model stored and deployed, the server process warm; against a "
        "script with the same Trainer, rows and arguments that saves the model, in a plain process and in one whose "
        "threads wait and whose memory is kept as in pgml's trainer: the difference to it is PostgreSQL's cost"
    )
    return [overhead(ours, times, name, how) for name, times in theirs.items()]


def overhead(ours: list[float], theirs: list[float], name: str, how: str) -> Row:
    """A row that compares times of the same work."""
    over = statistics.median(o - t for o, t in zip(ours, theirs, strict=True))
    base = statistics.median(theirs)
    return Row(
        what=f"tune: the example; script {name}",
        pgml=f"{statistics.median(ours):.1f} s",
        compared=f"{base:.1f} s",
        ratio=f"{over:+.1f} s ({over / base:+.0%})",
        goal=f"<= 10 % + 5 s (here {base * 0.1 + 5:.1f} s)",
        how=how,
    )


def plain_settings(setting: Setting) -> dict[str, Any]:
    """What the last tune was run with; its rows are split anew, stratified and of the same sizes."""
    hyperparams, analysis = setting.database.run(
        "SELECT m.hyperparams, s.analysis FROM pgml.models m JOIN pgml.snapshots s ON s.id = m.snapshot_id "
        "ORDER BY m.id DESC LIMIT 1"
    )[0]
    split = (
        "SELECT text, tag FROM projects_to_learn ORDER BY row_number() OVER (PARTITION BY tag ORDER BY md5(text)) * 1.0"
        " / count(*) OVER (PARTITION BY tag), tag"
    )
    rows = setting.database.run(split)
    return {
        "base": str(setting.models / MINILM),
        "train": rows[: analysis["train_rows"]],
        "test": rows[analysis["train_rows"] :],
        "training_args": hyperparams["training_args"],
        "max_length": hyperparams["tokenizer_args"].get("max_length", 256),
    }


def memory_of_idle_connections(setting: Setting) -> list[Row]:
    """What ten connections that have predicted keep for themselves."""
    query = "SELECT pgml.predict(%s, %s)"
    setting.database.value(query, setting.project, TEXT)
    plain = [setting.database.connect() for _ in range(10)]
    predicted = [setting.database.connect() for _ in range(10)]
    for connection in plain:
        connection.execute("SELECT count(*) FROM projects")
    for connection in predicted:
        for _ in range(20):
            connection.execute(query, [setting.project, TEXT])
    ours, theirs = ([rollup(c.info.backend_pid) for c in group] for group in (predicted, plain))
    for connection in plain + predicted:
        connection.close()
    server = rollup(setting.database.cluster.python_processes("pgml.runtime.serve")[0])
    worst, bare = max(private for private, _ in ours), statistics.median(private for private, _ in theirs)
    return [
        Row(
            what="memory: idle connection",
            pgml=f"{worst / MEGABYTE:.1f} MB",
            compared=f"{bare / MEGABYTE:.1f} MB",
            ratio=f"+{(worst - bare) / MEGABYTE:.1f} MB",
            goal="<= 10 MB",
            how="private memory (Private_* of smaps_rollup), the largest of ten connections after twenty predictions "
            f"each (Pss {max(pss for _, pss in ours) / MEGABYTE:.1f} MB); against the median of ten that ran one "
            f"query of a table. The server process, one for all, has {server[0] / MEGABYTE:.0f} MB",
        )
    ]


def rollup(pid: int) -> tuple[int, int]:
    """Private and proportional bytes of a process."""
    lines = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]]
    sizes = {name: int(size) * 1024 for name, size, *_ in lines}
    return sizes["Private_Clean:"] + sizes["Private_Dirty:"], sizes["Pss:"]


def predict_row_by_row(setting: Setting) -> list[Row]:
    """2,000 short rows, one call of pgml.predict each, against one call for all."""
    database, project = setting.database, setting.project
    database.run("DROP TABLE IF EXISTS short_texts")
    database.run("CREATE TABLE short_texts AS SELECT text FROM unnest(%s::text[]) AS text", setting.texts(2000))
    single, array = [], []
    with database.connect() as connection:

        def run(query: str) -> float:
            return seconds(lambda: connection.execute(query, [project]).fetchall())

        run("SELECT pgml.predict(%s, text) FROM short_texts LIMIT 10")
        for _ in range(setting.rounds(3)):
            single.append(run("SELECT pgml.predict(%s, text)->>'label' FROM short_texts"))
            array.append(run("SELECT pgml.predict(%s, array_agg(text)) FROM short_texts"))
    ratio = statistics.median(s / a for s, a in zip(single, array, strict=True))
    return [
        Row(
            what="rows: one call for each of 2,000",
            pgml=f"{2000 / statistics.median(single):.0f} rows/s",
            compared=f"{2000 / statistics.median(array):.0f} rows/s",
            ratio=f"{1 / ratio:.2f} x",
            how="SELECT pgml.predict(project, text) FROM a table of short texts; against one call with array_agg(text)",
        )
    ]
