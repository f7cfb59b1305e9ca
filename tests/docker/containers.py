"""Containers of the image, made by tools/docker: by Docker, or by podman where no Docker engine answers."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from tests.cluster import Database, wait_until
from tests.server import Server

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "tools" / "docker"
IMAGE = "pgml:cpu"
PASSWORD = "a 'quoted' p@ss/wörd"
DATA = "/var/lib/postgresql/data"
START = 90
"""Seconds for a first start, on a busy machine with two cores."""
numbers = itertools.count(1)


def docker(*arguments: Any, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [DOCKER, *map(str, arguments)]
    done = subprocess.run(command, text=True, capture_output=True, timeout=timeout, check=False)
    assert not check or done.returncode == 0, f"{command}: {done.stderr}"
    return done


def read_only() -> list[str]:
    """Options for a container whose own files nothing can change."""
    # podman would mount a tmpfs over /run too, with modes of its own.
    podman = ["--read-only-tmpfs=false"] if docker("--version").stdout.startswith("podman") else []
    return ["--read-only", *podman, "--tmpfs", "/tmp", "--tmpfs", "/var/run/postgresql"]


def unused_name() -> str:
    return f"pgml-test-{os.getpid()}-{next(numbers)}"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def volume() -> Iterator[str]:
    name = unused_name()
    docker("volume", "create", name)
    yield name
    docker("volume", "rm", "--force", name)


class Container:
    """A container, reached from outside through its published port."""

    def __init__(self, *options: Any, command: tuple[str, ...] = (), user: str = "postgres") -> None:
        self.name = unused_name()
        self.port = free_port()
        published = ("--publish", f"127.0.0.1:{self.port}:5432")
        docker("run", "--detach", "--name", self.name, *published, *options, IMAGE, *command)
        self.server = Server(psycopg.conninfo.make_conninfo(host="127.0.0.1", port=self.port, user=user))
        self.server.known["password"] = PASSWORD

    def database(self, name: str = "postgres") -> Database:
        return Database(self.server, name)

    def wait_until_healthy(self) -> None:
        """What Docker does by itself; podman asks only where systemd runs."""
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: self.healthcheck().returncode == 0 or not self.running, "health", START)
        checked = self.healthcheck()
        assert checked.returncode == 0, f"{checked.stdout}{checked.stderr}{self.logs()}"

    def healthcheck(self) -> subprocess.CompletedProcess[str]:
        return docker("exec", self.name, "healthcheck", check=False)

    @property
    def running(self) -> bool:
        return self.inspect("{{.State.Running}}") == "true"

    @property
    def exit_status(self) -> int:
        return int(self.inspect("{{.State.ExitCode}}"))

    def inspect(self, form: str) -> str:
        return docker("inspect", "--format", form, self.name).stdout.strip()

    def logs(self) -> str:
        done = docker("logs", self.name)
        return done.stdout + done.stderr

    def sh(self, script: str) -> str:
        return docker("exec", self.name, "sh", "-c", script).stdout

    def remove(self) -> None:
        docker("rm", "--force", "--volumes", self.name, check=False)


@contextlib.contextmanager
def container(*options: Any, **more: Any) -> Iterator[Container]:
    """A container with a password that is removed at the end; healthy already."""
    made = Container("--env", f"POSTGRES_PASSWORD={PASSWORD}", "--shm-size", "256m", *options, **more)
    try:
        made.wait_until_healthy()
        yield made
    finally:
        made.remove()
