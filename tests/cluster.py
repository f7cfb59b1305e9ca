"""A PostgreSQL cluster of its own for tests and benchmarks: made, started, hurt and thrown away.

Runs as the OS user of `PGML_CLUSTER_USER` (PostgreSQL refuses root). Knows nothing of pytest.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg
from psycopg import sql

numbers = itertools.count(1)
PG_CONFIG = os.environ.get("PG_CONFIG", "/usr/lib/postgresql/15/bin/pg_config")
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # the data is thrown away
    "max_worker_processes": "12",
    "log_line_prefix": "%m [%p] %d ",
    "lc_messages": "C",
    "pgml.hub_offline": "on",  # no test waits for a network; those with a Hub of their own switch it off
}


class Cluster:
    """One cluster. `settings` go to postgresql.conf; `pgml.python` and `pgml.model_directories` have defaults."""

    def __init__(self, models: Path | None = None, pg_config: Path | str = PG_CONFIG, **settings: str) -> None:
        self.user = os.environ.get("PGML_CLUSTER_USER", "postgres")
        self.root = Path(tempfile.mkdtemp(prefix="pgml-", dir="/tmp"))
        self.data = self.root / "data"
        self.log = self.root / "log"
        self.bin = Path(subprocess.check_output([pg_config, "--bindir"], text=True).strip())
        if os.getuid() == 0:
            user = pwd.getpwnam(self.user)
            os.chown(self.root, user.pw_uid, user.pw_gid)
        defaults = {
            "unix_socket_directories": str(self.root),
            "pgml.python": os.environ.get("PGML_PYTHON", ""),
            "pgml.model_directories": str(models or ""),
        }
        self._run("initdb", "-D", self.data, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-A", "trust", "-N")
        self.configure(**{**SETTINGS, **defaults, **settings})

    def configure(self, **settings: str) -> None:
        """Append to postgresql.conf; names are written with `__` for a dot, or as they are."""
        lines = [f"{name.replace('__', '.')} = '{value}'\n" for name, value in settings.items()]
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(lines)

    def start(self) -> None:
        self._pg_ctl("start", "-w", "-t", "60", "-l", self.log)

    def stop(self, mode: str = "fast") -> None:
        self._pg_ctl("stop", "-w", "-t", "60", "-m", mode)

    def restart(self, mode: str = "fast") -> None:
        self._pg_ctl("restart", "-w", "-t", "60", "-m", mode, "-l", self.log)

    def reload(self) -> None:
        self._pg_ctl("reload")

    def remove(self) -> None:
        """Stop it and remove all it left."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop("immediate")
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def postmaster(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def crash(self) -> None:
        """Kill the postmaster, as a power cut would, and wait until the processes it leaves are gone."""
        postmaster = self.postmaster
        os.kill(postmaster, signal.SIGKILL)
        wait_until(lambda: not self.processes(), "the processes of the crashed cluster to end")
        # Where nobody waits for orphans, as in a container, the dead postmaster keeps its number, and these its locks.
        for lock in (self.data / "postmaster.pid", *self.root.glob(".s.PGSQL.*.lock")):
            lock.unlink(missing_ok=True)

    def processes(self) -> list[tuple[int, str]]:
        """Process id and command of everything that runs in the data directory, Python included."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink() == self.data:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    if command:
                        found.append((int(entry.name), command))
        return found

    def python_processes(self, module: str = "pgml.runtime") -> list[int]:
        return [pid for pid, command in self.processes() if f"-m {module}" in command]

    def connect(self, dbname: str = "postgres", user: str = "postgres", **options: Any) -> psycopg.Connection:
        """A new connection, in autocommit mode."""
        options.setdefault("autocommit", True)
        return psycopg.connect(host=str(self.root), dbname=dbname, user=user, **options)

    def url(self, dbname: str, user: str = "postgres") -> str:
        """A URL that libpq and the outside clients understand alike."""
        return f"postgresql:///{dbname}?{urlencode({'host': self.root, 'user': user})}"

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def _pg_ctl(self, *arguments: Any) -> None:
        self._run("pg_ctl", "-D", self.data, "-s", *arguments)

    def _run(self, program: str, *arguments: Any) -> None:
        command = [str(self.bin / program), *map(str, arguments)]
        if os.getuid() == 0:
            command = ["runuser", "-u", self.user, "--", *command]
        with tempfile.TemporaryFile() as output:  # a pipe would stay open in the server that pg_ctl starts
            done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
            if done.returncode:
                output.seek(0)
                text = output.read().decode(errors="replace")
                raise subprocess.CalledProcessError(done.returncode, command, text + self._log_end())

    def _log_end(self) -> str:
        return self.log_text()[-2000:] if self.log.exists() else ""


class Database:
    """One database of a cluster, with the extension in it."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def connect(self, user: str = "postgres", **options) -> psycopg.Connection:
        return self.cluster.connect(self.name, user, **options)

    def run(self, query: str, *arguments, user: str = "postgres") -> list[tuple]:
        """Run statements on a new connection; the rows of the last."""
        with self.connect(user) as connection:
            cursor = connection.execute(query, arguments or None)
            return cursor.fetchall() if cursor.description else []

    def psql(self, *options: Any) -> list[Any]:
        """The command of a psql that connects to it."""
        return [self.cluster.bin / "psql", "-X", *options, self.cluster.url(self.name)]

    def run_script(self, script: Path, cwd: Path) -> None:
        """Run a file of psql, which finds what it reads itself from `cwd`."""
        command = self.psql("-q", "-v", "ON_ERROR_STOP=1", "-f", script)
        subprocess.run(command, check=True, capture_output=True, cwd=cwd)

    def value(self, query: str, *arguments, user: str = "postgres"):
        return self.run(query, *arguments, user=user)[0][0]


def make_database(cluster: Cluster) -> Database:
    name = f"test_{next(numbers)}"
    with cluster.connect() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    database = Database(cluster, name)
    database.run("CREATE EXTENSION pgml")
    return database


def drop_database(database: Database) -> None:
    with database.cluster.connect() as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database.name)))


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """Poll until the condition gives something true, which is returned."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.02)
    return result


@contextlib.contextmanager
def throwaway(models: Path | None = None, pg_config: Path | str = PG_CONFIG, **settings: str) -> Iterator[Cluster]:
    """A running cluster that is removed at the end."""
    cluster = Cluster(models, pg_config, **settings)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()
