"""What backends take."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.assets.make_models import SENTENCES
from tests.cluster import wait_until

CLASSIFY = (
    """SELECT pgml.transform('{"task": "text-classification", "model": "bert-classifier"}', '{}', ARRAY['a film'])"""
)
MEGABYTE = 1 << 20


def private(pid):
    """Bytes that are this process' alone."""
    return sum(field(pid, "smaps_rollup", name) for name in ("Private_Clean", "Private_Dirty"))


def field(pid, file, name):
    lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) * 1024


def test_a_session_that_predicted_keeps_little(database):
    database.run(CLASSIFY)
    connections = [database.connect() for _ in range(10)]
    grown = []
    for connection in connections:
        pid = connection.info.backend_pid
        connection.execute("SELECT 1")
        before = private(pid)
        for _ in range(5):
            connection.execute(CLASSIFY)
        grown.append(private(pid) - before)
    sizes = [private(connection.info.backend_pid) for connection in connections]
    for connection in connections:
        connection.close()
    assert max(sizes) < 10 * MEGABYTE
    assert max(grown) < 5 * MEGABYTE


def test_a_long_scan_does_not_grow(database):
    database.run(CLASSIFY)
    scan = (
        CLASSIFY.replace("ARRAY['a film']", "ARRAY['a film number ' || i]")
        + "->0->>'label' FROM generate_series(1, %s) i"
    )
    with database.connect() as connection:
        pid = connection.info.backend_pid
        connection.execute(f"SELECT count(*) FROM ({scan}) AS s", [20])
        before = private(pid)
        connection.execute(f"SELECT count(x) FROM ({scan} OFFSET 0) AS s (x)", [500])
        assert private(pid) - before < 4 * MEGABYTE


@pytest.fixture
def tweets(database):
    """9,771 short texts, always the same."""
    chance = random.Random(17)
    words = " ".join(SENTENCES).split()
    rows = [(" ".join(chance.choices(words, k=chance.randint(3, 30))), chance.choice("abc")) for _ in range(9771)]
    database.run("CREATE TABLE tweets (id serial, body text, verdict text)")
    with database.connect() as connection, connection.cursor().copy("COPY tweets (body, verdict) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
    return database


def test_thousands_of_rows_stream(tweets, tune):
    tweets.run(CLASSIFY)
    tuning = tune(relation="tweets", num_train_epochs=1, max_steps=40, logging_steps=1, per_device_eval_batch_size=256)
    before = field(tuning.backend, "status", "VmRSS")
    tuning.heard("step 5/40", 60)
    # Other sessions see the logs as they come.
    wait_until(lambda: tuning.log_rows() >= 5, "rows of pgml.logs")
    assert tuning.status == "in_progress"
    peak = field(tuning.backend, "status", "VmHWM")
    tuning.end(60)
    assert tuning.result[0] == "successful"
    assert peak - before < 48 * MEGABYTE
    assert tuning.result[5]["train_rows"] + tuning.result[5]["test_rows"] == 9771
    assert sum("loss " in message for message in tuning.messages) >= 40
    # The session keeps nothing of it.
    tuning.connection.execute("SELECT 1")
    assert private(tuning.backend) < 20 * MEGABYTE
