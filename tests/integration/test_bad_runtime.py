"""A Python that is missing, lacks a package, or dies while it starts: each statement says so, and says what to do."""

from __future__ import annotations

import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster import Database, make_database, throwaway, wait_until
from tests.integration.jobs import refusal

import pgml

CALL = """SELECT pgml.transform('{"model": "bert-classifier"}'::jsonb, inputs => ARRAY['x'])"""
BARE_PYTHON = f"{sys.base_prefix}/bin/python3 -S"  # without any installed package


@pytest.fixture(scope="module")
def broken(model_directory) -> Iterator[Database]:
    """A cluster without a Python."""
    with throwaway(
        model_directory, **{"pgml.python": "/nowhere/bin/python", "pgml.runtime_start_timeout": "20s"}
    ) as cluster:
        yield make_database(cluster)


def use(database: Database, python: Path | str) -> None:
    database.cluster.configure(**{"pgml.python": str(python)})
    database.cluster.restart()


def script(database: Database, text: str) -> Path:
    path = database.cluster.root / "python"
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH | stat.S_IRGRP | stat.S_IROTH)
    return path


def everything(said) -> str:
    return f"{said.message_primary}\n{said.message_detail}\n{said.message_hint}"


@pytest.mark.parametrize("call", [CALL, "SELECT pgml.tune('p', 'text-classification', 'rows', model_name => 'bert')"])
def test_no_python(broken, call):
    broken.run("CREATE TABLE IF NOT EXISTS rows (text text, label text)")
    with broken.connect() as connection:
        said = refusal(connection, call)
        assert said.sqlstate[:2] in ("38", "58", "57")
        assert "/nowhere/bin/python" in everything(said)
        assert "pgml.python" in said.message_hint
        assert connection.execute("SELECT count(*) FROM pgml.models").fetchone() == (0,)
        assert connection.execute("SELECT pgml.version()").fetchone()[0]


def test_the_package_itself_is_missing(broken):
    """What an interpreter outside of the virtual environment is."""
    use(broken, script(broken, f'#!/bin/sh\nexec {BARE_PYTHON} "$@"\n'))
    with broken.connect() as connection:
        said = refusal(connection, CALL)
        assert str(broken.cluster.root / "python") in everything(said)
        assert "No module named" in everything(said)
        assert "make install" in said.message_hint


def test_a_package_is_missing(broken):
    """The runtime is there, torch is not: the interpreter and the command that helps are named."""
    shutil.copytree(Path(pgml.__file__).parent, broken.cluster.root / "lib" / "pgml")
    for path in [broken.cluster.root / "lib", *(broken.cluster.root / "lib").rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    use(broken, script(broken, f'#!/bin/sh\nPYTHONPATH={broken.cluster.root}/lib exec {BARE_PYTHON} "$@"\n'))
    with broken.connect() as connection:
        said = refusal(connection, CALL)
        assert said.sqlstate == "38000"
        assert "torch" in said.message_detail
        assert f"{sys.base_prefix}/bin/python3" in everything(said)
        assert "make install" in said.message_hint


def test_it_dies_while_it_starts(broken):
    use(
        broken, script(broken, "#!/bin/sh\necho 'loading the libraries' >&2\necho 'boom: no such device' >&2\nexit 7\n")
    )
    with broken.connect() as connection:
        said = refusal(connection, CALL)
        assert said.sqlstate == "38000"
        assert "boom: no such device" in said.message_detail
        assert "7" in said.message_detail
        assert "restart_runtime" in said.message_hint
        state, exit_, words = connection.execute(
            "SELECT state, last_exit, last_words FROM pgml.runtime_status()"
        ).fetchone()
        assert state != "ready"
        assert "7" in exit_
        assert "boom" in words


def test_it_never_becomes_ready(broken):
    broken.cluster.configure(**{"pgml.runtime_start_timeout": "1s"})
    use(broken, script(broken, "#!/bin/sh\nexec sleep 60\n"))
    with broken.connect() as connection:
        said = refusal(connection, CALL)
        assert said.sqlstate == "57P03"
        assert "1 second" in said.message_detail
        assert "runtime_status" in said.message_hint


def test_it_works_once_the_setting_is_right(broken):
    """Without a restart of the cluster: a reload and a call."""
    broken.cluster.configure(**{"pgml.runtime_start_timeout": "60s"})
    use(broken, "/nowhere/bin/python")
    with broken.connect() as connection:
        refusal(connection, CALL)
        broken.cluster.configure(**{"pgml.python": sys.executable})
        broken.cluster.reload()
        wait_until(lambda: connection.execute("SHOW pgml.python").fetchone()[0] == sys.executable, "the reload")
        assert connection.execute("SELECT pgml.restart_runtime()").fetchone() == (True,)
        assert len(connection.execute(CALL).fetchone()[0]) == 1
