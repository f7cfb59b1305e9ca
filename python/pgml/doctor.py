"""Check what pgml needs in a database and its server, and say how to mend what is wrong. Changes and starts nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row

from pgml import __version__
from pgml.connections import OPTIONS, resolve_url

OK: Literal["ok"] = "ok"
WARNING: Literal["warning"] = "warning"
PROBLEM: Literal["problem"] = "problem"
SERVER_VERSION = 15
"""The major version of PostgreSQL that the extension is built for."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `mend` says what to do where it is not as it should be."""

    state: Literal["ok", "warning", "problem"]
    what: str
    mend: str | None = None


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
        yield from _preload(connection)
        extension = _row(
            connection,
            "SELECT default_version, installed_version FROM pg_available_extensions WHERE name = 'pgml'",
        )
        yield from _extension(extension)
        if extension and extension["installed_version"]:
            yield from _installed(connection, extension["installed_version"])


def _row(connection: psycopg.Connection[dict[str, Any]], statement: str) -> dict[str, Any]:
    return connection.execute(statement.encode()).fetchone() or {}


def _server(major: int) -> Finding:
    if major == SERVER_VERSION:
        return Finding(OK, f"server: PostgreSQL {major}")
    mend = f"Use PostgreSQL {SERVER_VERSION}."
    return Finding(PROBLEM, f"server: PostgreSQL {major}; pgml is built for PostgreSQL {SERVER_VERSION}", mend)


def _preload(connection: psycopg.Connection[dict[str, Any]]) -> Iterator[Finding]:
    row = _row(connection, "SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries'")
    if not row:
        mend = "Run pgml doctor as a superuser or a member of pg_read_all_settings."
        yield Finding(WARNING, "shared_preload_libraries: this role may not see it", mend)
    elif "pgml" in re.split(r"[\s,]+", row["setting"]):
        yield Finding(OK, "shared_preload_libraries: has pgml, so the runtime starts with the server")
    else:
        mend = "Add pgml to shared_preload_libraries in postgresql.conf and restart the server."
        yield Finding(WARNING, "shared_preload_libraries: lacks pgml, so the first statement after a start waits", mend)


def _extension(row: dict[str, Any]) -> Iterator[Finding]:
    if not row:
        mend = "Run make install in a checkout of pgml, with PG_CONFIG of this server."
        yield Finding(PROBLEM, "extension: its files are not in the server's directories", mend)
        return
    available, installed = row["default_version"], row["installed_version"]
    if installed is None:
        yield Finding(PROBLEM, f"extension: {available} is available, not in this database", "CREATE EXTENSION pgml;")
        return
    if installed != available:
        mend = "ALTER EXTENSION pgml UPDATE;"
        yield Finding(WARNING, f"extension: {installed} in this database, {available} is available", mend)
    if installed != __version__:
        mend = f"Use the client of {installed}, or run make install in a checkout of {__version__}."
        yield Finding(WARNING, f"extension: {installed}, this client is {__version__}", mend)
    elif installed == available:
        yield Finding(OK, f"extension: {installed}, as this client")


def _installed(connection: psycopg.Connection[dict[str, Any]], installed: str) -> Iterator[Finding]:
    try:
        library = _row(connection, "SELECT pgml.version() AS version")["version"]  # loads it, and with it the settings
    except psycopg.Error as error:
        mend = "Run make install in a checkout of pgml, then restart the server."
        yield Finding(PROBLEM, f"library: {' '.join(str(error).split())}", mend)
        return
    if library != installed:
        mend = "Restart the server, and run ALTER EXTENSION pgml UPDATE; in this database."
        yield Finding(PROBLEM, f"library: the server runs {library}, the extension is {installed}", mend)
    settings = _row(
        connection,
        """SELECT current_setting('pgml.python') AS python,
                  current_setting('pgml.model_directories') AS model_directories""",
    )
    status = _row(connection, "SELECT * FROM pgml.runtime_status()")
    yield _interpreter(settings["python"], status)
    if status["packages"]:
        yield from _packages(status["packages"], settings["python"])
        yield Finding(OK, f"device: {status['device']}")
    yield from _directories(connection, settings["model_directories"])


def _interpreter(python: str, status: dict[str, Any]) -> Finding:
    state, last_exit, last_words = status["state"], status["last_exit"], status["last_words"]
    if not python:
        mend = "Set pgml.python in postgresql.conf to a Python in which pgml[runtime] is installed, and reload."
        return Finding(PROBLEM, "pgml.python: not set", mend)
    if state == "ready":
        return Finding(OK, f"pgml.python: {status['python']} runs as process {status['pid']}")
    if state == "starting":
        return Finding(WARNING, f"pgml.python: {python} is starting", "Wait a moment, then run pgml doctor again.")
    if state == "stopped" and not last_exit:
        mend = "It starts with the first prediction, or with SELECT pgml.restart_runtime();"
        return Finding(WARNING, f"pgml.python: {python} has not been started yet", mend)
    said = ". ".join(" ".join(part.split()) for part in (last_exit, last_words) if part)
    mend = "Mend what it says, or set pgml.python in postgresql.conf; then SELECT pgml.restart_runtime();"
    return Finding(PROBLEM, f"pgml.python: {python} does not run: {said or state}", mend)


def _packages(running: dict[str, str], python: str) -> Iterator[Finding]:
    pins = runtime_pins()
    # A build's own mark, as in 2.13.0+cpu, is not part of what is pinned.
    wrong = [
        f"{name} {version} instead of {pins[name]}"
        for name, version in running.items()
        if name in pins and version.split("+")[0] != pins[name]
    ]
    if wrong:
        mend = f"Run make install VENV={Path(python).parents[1]} in a checkout of pgml {__version__}."
        yield Finding(WARNING, f"packages: {', '.join(wrong)}", mend)
    else:
        yield Finding(OK, f"packages: {', '.join(f'{name} {version}' for name, version in running.items())}")


def runtime_pins() -> dict[str, str]:
    """Versions that this release's runtime is made for, by name of the package."""
    wanted = [line for line in metadata.requires("pgml") or [] if re.search(r"extra\s*==\s*.runtime.", line)]
    found = (re.match(r"([\w.-]+)==([\w.]+)", line) for line in wanted)
    return {match[1]: match[2] for match in found if match}


def _directories(connection: psycopg.Connection[dict[str, Any]], directories: str) -> Iterator[Finding]:
    if not directories:
        mend = "Set pgml.model_directories in postgresql.conf to where models lie, and reload."
        yield Finding(WARNING, "pgml.model_directories: none, so there is nothing to tune or to run", mend)
        return
    missing = []
    for directory in (part.strip() for part in directories.split(",")):
        try:
            found = connection.execute("SELECT isdir FROM pg_stat_file(%s, true)", [directory]).fetchone()
        except psycopg.errors.InsufficientPrivilege:
            yield Finding(OK, f"pgml.model_directories: {directories} (this role may not look inside)")
            return
        except psycopg.Error:
            found = None
        if not found or not found["isdir"]:
            missing.append(directory)
    if missing:
        mend = "Make them, readable for the server's user, or change pgml.model_directories and reload."
        yield Finding(PROBLEM, f"pgml.model_directories: cannot be read: {', '.join(missing)}", mend)
    else:
        yield Finding(OK, f"pgml.model_directories: {directories}")
