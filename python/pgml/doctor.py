"""Check what pgml needs in a database and its server, and say how to mend what is wrong. Changes and starts nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from pgml import __version__
from pgml.connections import OPTIONS, resolve_url
from pgml.doctor_host import cgroup_of, installed_packages, out_of_memory, runtime_pins
from pgml.findings import OK, PROBLEM, WARNING, Finding

SERVER_VERSIONS = (15, 16, 17)
"""The major versions of PostgreSQL that the extension is made for."""

Row = dict[str, Any]
Connection = psycopg.Connection[Row]


def examine(database_url: str | None = None) -> Iterator[Finding]:
    """All findings, in an order in which the first problem is the one to mend first."""
    try:
        connection = psycopg.connect(resolve_url(database_url), row_factory=dict_row, **OPTIONS)
    except psycopg.Error as error:
        mend = "Start the server, or name another one: --database-url, PGML_DATABASE_URL, DATABASE_URL or PGHOST."
        yield Finding(PROBLEM, f"connection: {' '.join(str(error).split())}", mend)
        return
    with connection:
        where = connection.info
        yield Finding(OK, f'connection: database "{where.dbname}" on {where.host}:{where.port} as "{where.user}"')
        yield _server(where.server_version // 10000)
        yield _encoding(where.parameter_status("server_encoding") or "unknown")
        yield from _preload(connection)
        if where.host.startswith("/") and (finding := out_of_memory(cgroup_of(where.backend_pid))):
            yield finding
        extension = _row(
            connection,
            "SELECT default_version, installed_version FROM pg_available_extensions WHERE name = 'pgml'",
        )
        yield from _extension(extension)
        if extension:
            yield from _library(connection, extension["installed_version"])


def _row(connection: Connection, statement: str, *arguments: str) -> Row:
    return connection.execute(statement.encode(), arguments or None).fetchone() or {}


def _server(major: int) -> Finding:
    if major in SERVER_VERSIONS:
        return Finding(OK, f"server: PostgreSQL {major}")
    versions = ", ".join(map(str, SERVER_VERSIONS))
    mend = f"Use one of PostgreSQL {versions}."
    return Finding(PROBLEM, f"server: PostgreSQL {major}; pgml is made for PostgreSQL {versions}", mend)


def _encoding(encoding: str) -> Finding:
    if encoding == "UTF8":
        return Finding(OK, "encoding: UTF8")
    mend = "Move to a database made by CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'."
    return Finding(WARNING, f"encoding: {encoding}; texts of it beyond ASCII may be refused", mend)


def _preload(connection: Connection) -> Iterator[Finding]:
    row = _row(connection, "SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries'")
    if not row:
        mend = "Run pgml doctor as a superuser or a member of pg_read_all_settings."
        yield Finding(WARNING, "shared_preload_libraries: this role may not see it", mend)
    elif "pgml" in re.split(r"[\s,]+", row["setting"]):
        yield Finding(OK, "shared_preload_libraries: has pgml, so the runtime starts with the server")
    else:
        mend = "Add pgml to shared_preload_libraries in postgresql.conf and restart the server."
        yield Finding(WARNING, "shared_preload_libraries: lacks pgml, so the first statement after a start waits", mend)


def _extension(row: Row) -> Iterator[Finding]:
    if not row:
        mend = "Run make install in a checkout of pgml, with PG_CONFIG of this server."
        yield Finding(PROBLEM, "extension: its files are not in the server's directories", mend)
        return
    available, installed = row["default_version"], row["installed_version"]
    if installed is None:
        mend = "CREATE EXTENSION pgml; as a superuser of the server."
        yield Finding(PROBLEM, f"extension: {available} is available, not in this database", mend)
        return
    if installed != available:
        mend = "ALTER EXTENSION pgml UPDATE;"
        yield Finding(WARNING, f"extension: {installed} in this database, {available} is available", mend)
    if installed != __version__:
        mend = f"Use the client of {installed}, or run make install in a checkout of {__version__}."
        yield Finding(WARNING, f"extension: {installed}, this client is {__version__}", mend)
    elif installed == available:
        yield Finding(OK, f"extension: {installed}, as this client")


def _library(connection: Connection, installed: str | None) -> Iterator[Finding]:
    """Loads the library, and with it its settings, which can be looked at before the extension is in this database."""
    try:
        if installed:
            library = _row(connection, "SELECT pgml.version() AS version")["version"]
        else:
            connection.execute("LOAD '$libdir/pgml'")
            library = None
    except psycopg.Error as error:
        if not installed and isinstance(error, psycopg.errors.InsufficientPrivilege):
            return
        mend = "Run make install in a checkout of pgml with PG_CONFIG of this server, then restart the server."
        yield Finding(PROBLEM, f"library: {' '.join(str(error).split())}", mend)
        return
    if installed and library != installed:
        mend = "Restart the server, and run ALTER EXTENSION pgml UPDATE; in this database."
        yield Finding(PROBLEM, f"library: the server runs {library}, the extension is {installed}", mend)
    else:
        yield Finding(OK, "library: the server loads it")
    yield from _settings(connection, with_status=installed is not None)


def _settings(connection: Connection, *, with_status: bool) -> Iterator[Finding]:
    settings = _row(
        connection,
        """SELECT current_setting('pgml.python') AS python, current_setting('pgml.max_jobs')::int AS jobs,
                  current_setting('pgml.model_directories') AS model_directories,
                  current_setting('max_worker_processes')::int AS workers""",
    )
    python = settings["python"]
    status = _row(connection, "SELECT * FROM pgml.runtime_status()") if with_status else {}
    yield _workers(settings["workers"], settings["jobs"])
    yield _interpreter(connection, python, status)
    packages = status.get("packages") or installed_packages(python)
    if packages:
        yield _packages(packages, python)
    if status.get("device"):
        yield Finding(OK, f"device: {status['device']}")
    yield _directories(connection, settings["model_directories"])


def _workers(workers: int, jobs: int) -> Finding:
    needed = jobs + 2  # the supervisor, and PostgreSQL's launcher of logical replication
    if workers >= needed:
        return Finding(
            OK, f"max_worker_processes: {workers}, of which pgml uses {jobs + 1}, and one more for each job that waits"
        )
    mend = f"Set it to {needed + 2} or more, so that parallel queries have some too, and restart the server."
    return Finding(WARNING, f"max_worker_processes: {workers} is too few for pgml.max_jobs = {jobs}", mend)


def _interpreter(connection: Connection, python: str, status: Row) -> Finding:
    if not python:
        mend = "Set pgml.python in postgresql.conf to a Python in which pgml[runtime] is installed, and reload."
        return Finding(PROBLEM, "pgml.python: not set", mend)
    state, last_exit, last_words = (status.get(name) for name in ("state", "last_exit", "last_words"))
    if state == "ready":
        return Finding(OK, f"pgml.python: {status['python']} runs as process {status['pid']}")
    if state == "starting":
        return Finding(WARNING, f"pgml.python: {python} is starting", "Wait a moment, then run pgml doctor again.")
    if last_exit and state != "stopped":
        said = ". ".join(" ".join(part.split()) for part in (last_exit, last_words) if part)
        mend = "Mend what it says, or set pgml.python in postgresql.conf; then SELECT pgml.restart_runtime();"
        return Finding(PROBLEM, f"pgml.python: {python} does not run: {said or state}", mend)
    if reason := _unreadable(connection, python):
        mend = "Make it and the folders above it readable for everyone, or set pgml.python in postgresql.conf."
        return Finding(PROBLEM, f"pgml.python: the server cannot read {python}: {reason}", mend)
    mend = "It starts with the first prediction, or with SELECT pgml.restart_runtime();"
    return Finding(WARNING, f"pgml.python: {python} is not running", mend)


def _may_look(connection: Connection) -> bool:
    allowed = """SELECT has_function_privilege('pg_catalog.pg_read_binary_file(text, bigint, bigint)', 'EXECUTE')
                    AND has_function_privilege('pg_catalog.pg_ls_dir(text)', 'EXECUTE') AS allowed"""
    return bool(_row(connection, allowed)["allowed"])


def _unreadable(connection: Connection, path: str, *, directory: bool = False) -> str | None:
    """Why the server's OS user cannot read a file or directory; None if it can, or if this role may not look."""
    if not _may_look(connection):
        return None
    try:
        if directory:
            connection.execute("SELECT count(*) FROM pg_catalog.pg_ls_dir(%s)", [path])
        else:
            connection.execute("SELECT pg_catalog.pg_read_binary_file(%s, 0, 1)", [path])
    except psycopg.Error as error:
        return str(error.diag.message_primary).rpartition(": ")[2]
    return None


def _packages(packages: dict[str, str], python: str) -> Finding:
    pins = runtime_pins()
    # A build's own mark, as in 2.13.0+cpu, is not part of what is pinned.
    wrong = [
        f"{name} {version} instead of {pins[name]}"
        for name, version in packages.items()
        if name in pins and version.split("+")[0] != pins[name]
    ]
    if wrong:
        mend = f"Run make install VENV={Path(python).parents[1]} in a checkout of pgml {__version__}."
        return Finding(WARNING, f"packages: {', '.join(wrong)}", mend)
    return Finding(OK, f"packages: {', '.join(f'{name} {version}' for name, version in packages.items())}")


def _directories(connection: Connection, directories: str) -> Finding:
    if not directories:
        mend = "Set pgml.model_directories in postgresql.conf, and reload, or name models of the Hugging Face Hub."
        return Finding(WARNING, "pgml.model_directories: none, so models come from the Hub alone", mend)
    if not _may_look(connection):
        return Finding(OK, f"pgml.model_directories: {directories} (this role may not look inside)")
    named = [part.strip() for part in directories.split(",")]
    if wrong := [name for name in named if _unreadable(connection, name, directory=True)]:
        mend = "Make them, readable for the server's user, or change pgml.model_directories and reload."
        return Finding(PROBLEM, f"pgml.model_directories: cannot be read: {', '.join(wrong)}", mend)
    return Finding(OK, f"pgml.model_directories: {directories}")
