"""Answer requests: one function per operation. Knows models and tasks; knows nothing of sockets, tables and modes.

What a handler needs from its client comes through `Client`, so the same handlers serve a socket and an embedding.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from pgml.runtime import frames
from pgml.runtime.errors import INVALID_PARAMETER_VALUE, PROTOCOL_VIOLATION, RuntimeFault
from pgml.runtime.nearest import quoted_list
from pgml.runtime.serving.directories import architectures, check_directory
from pgml.runtime.serving.engine import Engine, ModelDirectory
from pgml.runtime.serving.store import Parts, Store, StoredModel, link_files
from pgml.runtime.tasks import parse_task, task_of_architecture
from pgml.runtime.tasks.loading import default_device

PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "huggingface_hub", "datasets", "numpy", "pyarrow")

Answer = tuple[dict[str, Any], bytes]


class Client(Protocol):
    """The side that asked."""

    def fetch(self, digest: str) -> Parts:
        """Ask for the files of a stored model."""
        ...

    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""
        ...


class Handlers:
    """The operations by name."""

    def __init__(self, cache: Path, cache_limit: int = 0, memory_limit: int = 0, threads: int = 0) -> None:
        self._engine = Engine(memory_limit, threads)
        self._store = Store(cache, cache_limit, self._engine.digests)
        self._started = time.monotonic()
        self._operations: dict[str, Callable[[dict[str, Any], bytes, Client], Answer]] = {
            "check_tune": self._check_tune,
            "prepare": self._prepare,
            "status": self._status,
            "transform": self._transform,
        }

    def answer(self, header: dict[str, Any], payload: bytes, client: Client) -> Answer:
        """The last frame of a request; faults are raised."""
        operation = self._operations.get(str(header.get("op")))
        if operation is None:
            raise RuntimeFault(
                f'unknown operation "{header.get("op")}"',
                sqlstate=PROTOCOL_VIOLATION,
                hint=f"Operations are: {quoted_list(self._operations)}.",
            )
        return operation(header, payload, client)

    def _transform(self, header: dict[str, Any], payload: bytes, client: Client) -> Answer:
        task, args, model = _typed(header, "task", dict), _typed(header, "args", dict), header.get("model")
        inputs = frames.decode(payload)
        if not isinstance(inputs, list):
            raise RuntimeFault("inputs are not an array", sqlstate=PROTOCOL_VIOLATION)
        if model is None:
            raise RuntimeFault(
                "task names no model",
                sqlstate=INVALID_PARAMETER_VALUE,
                hint=f'Name one: task => \'{{"task": "{task.get("task", "…")}", "model": "…"}}\'.',
            )
        with self._directory(model, client) as directory:
            spec, defaults = parse_task(task, None if task.get("task") else _own_task(model, directory))
            results = self._engine.transform(directory, spec, inputs, {**defaults, **args}, client.cancelled)
        return {"ok": True}, frames.encode(results)

    def _check_tune(self, header: dict[str, Any], payload: bytes, client: Client) -> Answer:
        from pgml.runtime.tuning.check import check_tune  # noqa: PLC0415 only tuning needs what it imports

        model = header.get("model")
        if model is None:
            return {"ok": True, "plan": check_tune(header, None)}, b""
        with self._directory(model, client) as directory:
            base = directory.path
            if directory.digest:  # the trainer may start when the cache has evicted the model
                base = str(Path(_typed(header, "job_directory", str), "base"))
                link_files(Path(directory.path), Path(base))
            return {"ok": True, "plan": check_tune(header, base)}, b""

    def _prepare(self, header: dict[str, Any], payload: bytes, client: Client) -> Answer:
        from pgml.runtime.tuning.rows import prepare  # noqa: PLC0415 as above

        return {"ok": True, "analysis": prepare(header)}, b""

    def _status(self, header: dict[str, Any], payload: bytes, client: Client) -> Answer:
        status = {
            "pid": os.getpid(),
            "uptime_seconds": round(time.monotonic() - self._started, 3),
            "python": platform.python_version(),
            "packages": _versions(),
            "device": default_device(),
            "memory_bytes": _resident_bytes(),
            "models": self._engine.status(),
        }
        return {"ok": True, "status": status}, b""

    @contextmanager
    def _directory(self, model: dict[str, Any], client: Client) -> Iterator[ModelDirectory]:
        """The checked directory of a model, fetched if need be."""
        if model.get("kind") == "stored":
            stored = StoredModel.from_request(model)
            with self._store.use(stored, lambda: client.fetch(stored.digest)) as path:
                check_directory(str(path), stored.name)
                yield ModelDirectory(stored.name, str(path), stored.digest)
        elif model.get("kind") == "directory":
            path, name = _typed(model, "path", str), _typed(model, "name", str)
            check_directory(path, name)
            yield ModelDirectory(name, path)
        else:
            raise RuntimeFault(f'unknown kind of model "{model.get("kind")}"', sqlstate=PROTOCOL_VIOLATION)


def _own_task(model: dict[str, Any], directory: ModelDirectory) -> str | None:
    """The task that a model was made for."""
    return model.get("task") or task_of_architecture(architectures(directory.path, directory.name))


def _typed(header: dict[str, Any], key: str, kind: type) -> Any:
    value = header.get(key)
    if kind is dict and value is None:
        return {}
    if not isinstance(value, kind):
        raise RuntimeFault(f'"{key}" of the request is not of type {kind.__name__}', sqlstate=PROTOCOL_VIOLATION)
    return value


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # datasets and pyarrow are needed by tuning only
    return versions


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
