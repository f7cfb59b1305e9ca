"""Running loads: cancels, ends of sessions, what others see, what they take; the runtime says what it is told."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.cluster import drop_database, make_database, wait_until
from tests.integration.jobs import make_role
from tests.integration.loading import DONE, SILENCE, columns, load, loading, numbers, rows

CANCELED = "57014"
LOADS = (
    'SELECT * FROM jsonb_to_recordset(pgml._loads()) AS l(pid int, source text, "table" text, phase text, rows bigint)'
)
WAITING = [{"header": {"progress": {"phase": "downloading", "bytes": 5, "total": 9}}, "pause": 0.05, "times": 9999}]
LOADING = [columns(n="integer"), rows("1\n2\n", times=9999, pause=0.02), DONE]
PHASES = {"silent": [SILENCE], "downloading": WAITING, "silent before rows": [columns(n="integer"), SILENCE]}
PHASES |= {"loading": LOADING, "silent after rows": [columns(n="integer"), rows("1\n"), SILENCE]}


@pytest.fixture
def database(told_database):
    return told_database


@pytest.fixture
def connection(database):
    with database.connect() as connection:
        load(connection, "warm", numbers(1, 1))
        yield connection


def loads(database, user="postgres"):
    return database.run(LOADS, user=user)


def begun(database):
    """The one load that runs."""
    return wait_until(lambda: loads(database), "the load to be seen")[0]


def files(database):
    return sorted(path.name for path in (database.cluster.data / "pgml" / "loads").iterdir())


@pytest.mark.parametrize("phase", PHASES)
def test_a_cancel_is_heard_within_a_second(database, connection, phase):
    with loading(connection, "x", PHASES[phase]) as outcome:
        begun(database)
        time.sleep(0.2)
        since = time.monotonic()
        connection.cancel_safe(timeout=5)
    assert time.monotonic() - since < 1
    assert outcome["error"].sqlstate == CANCELED
    assert connection.execute("SELECT to_regclass('pgml.x')").fetchone() == (None,)
    assert (loads(database), files(database)) == ([], [])
    assert load(connection, "x", numbers(1, 3)) == ("pgml.x", 3)


@pytest.mark.parametrize("setting", ["statement_timeout", "lock_timeout"])
def test_timeouts_are_heard(database, connection, setting):
    connection.execute("CREATE TABLE t (n integer)")
    connection.execute(f"SET {setting} = '400ms'")
    code = {"statement_timeout": CANCELED, "lock_timeout": "55P03"}[setting]
    with database.connect() as other, other.transaction():
        other.execute("LOCK TABLE t")
        since = time.monotonic()
        work = [columns(n="integer"), SILENCE]
        with loading(connection, "x", work, table="t", if_exists="append") as outcome:
            pass
        assert outcome["error"].sqlstate == code
        assert time.monotonic() - since < 2


def test_the_runtime_hears_that_nobody_waits(database, connection):
    with loading(connection, "x", LOADING):
        begun(database)
        connection.cancel_safe(timeout=5)
    wait_until(lambda: "the caller is gone" in database.cluster.log_text(), "the runtime to notice")


def test_the_end_of_a_session_leaves_nothing(database, connection):
    with database.connect() as victim, loading(victim, "x", LOADING):
        begun(database)
        connection.execute("SELECT pg_terminate_backend(%s)", [victim.info.backend_pid])
    wait_until(lambda: not loads(database), "the load to be forgotten")
    assert files(database) == []
    assert connection.execute("SELECT to_regclass('pgml.x')").fetchone() == (None,)


def test_the_end_of_the_runtime_ends_a_load(database, connection):
    with loading(connection, "x", LOADING) as outcome:
        begun(database)
        database.run("SELECT pgml.restart_runtime()")
    assert outcome["error"].sqlstate == "08006"
    assert load(connection, "x", numbers(1, 3)) == ("pgml.x", 3)


def test_others_see_how_far_it_is(database, connection):
    waits = [*WAITING[:1], *LOADING]
    waits[0] = WAITING[0] | {"times": 30}
    with loading(connection, "/x/hf_0123456789abcdefghij.csv", waits, table="t") as outcome:
        assert begun(database)[:3] == (connection.info.backend_pid, "/x/[redacted].csv", "public.t")
        phase = lambda: {phase: count for *_, phase, count in loads(database)}  # noqa: E731
        wait_until(lambda: "downloading" in phase(), "the download")
        wait_until(lambda: phase().get("loading", 0) > 0, "the rows")
        count = phase()["loading"]
        wait_until(lambda: phase()["loading"] > count, "more rows")
        copied = database.value("SELECT tuples_processed FROM pg_stat_progress_copy WHERE relid <> 0")
        assert copied > 0
        connection.cancel_safe(timeout=5)
    assert outcome["error"].sqlstate == CANCELED


def test_only_members_of_the_role_see_it(database, connection):
    for role in ("alice", "bob", "carol"):
        make_role(database, role)
    database.run("GRANT alice TO carol")
    other = make_database(database.cluster)
    with loading(connection, "x", LOADING):
        begun(database)
        connection.cancel_safe(timeout=5)
    connection.execute("SET ROLE alice")
    with loading(connection, "x", LOADING, table="pg_temp.x"):
        begun(database)
        seen = {user: len(loads(database, user)) for user in ("alice", "bob", "carol", "postgres")}
        elsewhere = loads(other)
        connection.cancel_safe(timeout=5)
    drop_database(other)
    assert seen == {"alice": 1, "bob": 0, "carol": 1, "postgres": 1}
    assert elsewhere == []


def test_a_stale_file_is_ignored_and_removed(database, connection):
    directory = database.cluster.data / "pgml" / "loads"
    stale = directory / "999999.json"
    stale.write_text('{"pid": 999999, "database": 1, "role": 10}')
    assert loads(database) == []
    assert not stale.exists()


def private(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.split("Private_Dirty:")[1].split()[0]) * 1024


def test_memory_does_not_grow_with_the_rows(database, connection):
    lines = "".join(f"{n}\t{n / 7}\tsome words\n" for n in range(20_000))
    given = [columns(n="bigint", x="double precision", t="text"), rows(lines, times=50), DONE]
    pid = connection.info.backend_pid
    before, most = private(pid), 0
    with loading(connection, "x", given) as outcome:
        while "result" not in outcome:
            most = max(most, private(pid))
            time.sleep(0.05)
    assert outcome["result"] == ("pgml.x", 1_000_000)
    assert most - before < 64 << 20


def test_one_long_row(database, connection):
    """Longer than COPY's buffer and in a frame of its own."""
    row = {"header": {"rows": 1}, "payload": "x" * 1024, "repeat": 20 << 10}
    assert load(connection, "x", [columns(t="text"), row, DONE]) == ("pgml.x", 1)
    assert connection.execute("SELECT length(t) FROM pgml.x").fetchone() == (20 << 20,)
