"""Answer requests: one function per operation. Knows models and tasks; knows nothing of sockets, tables and modes.

What a handler needs from its client comes through `Client`, so the same handlers serve a socket and an embedding.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pgml.runtime import frames
from pgml.runtime.errors import FEATURE_NOT_SUPPORTED, INVALID_PARAMETER_VALUE, PROTOCOL_VIOLATION, RuntimeFault
from pgml.runtime.generation.requests import TextRequest
from pgml.runtime.hub.errands import Errands
from pgml.runtime.nearest import quoted_list
from pgml.runtime.serving import bases
from pgml.runtime.serving.client import Answer, Client
from pgml.runtime.serving.directories import check_directory, is_adapter, own_task
from pgml.runtime.serving.engine import Engine
from pgml.runtime.serving.hub_models import HubModels
from pgml.runtime.serving.hub_operations import HubOperations
from pgml.runtime.serving.models import ModelDirectory
from pgml.runtime.serving.store import Store, StoredModel, link_files
from pgml.runtime.tasks import GENERATION_TASKS, TaskSpec, notices, parse_task
from pgml.runtime.tasks.loading import default_device

PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "huggingface_hub", "datasets", "numpy", "pyarrow")


class Handlers:
    """The operations by name."""

    def __init__(self, cache: Path, cache_limit: int = 0, memory_limit: int = 0, threads: int = 0) -> None:
        self._engine = Engine(memory_limit, threads)
        self._store = Store(cache, cache_limit, self._engine.digests)
        self._errands = Errands()
        self._hub_models = HubModels(self._errands)
        self._started = time.monotonic()
        hub = HubOperations(self._errands, self._own_directory)
        self._operations: dict[str, Callable[[dict[str, Any], bytes, Client], Answer]] = {
            "check_tune": self._check_tune,
            "load_dataset": hub.load_dataset,
            "prepare": self._prepare,
            "pull_from_hub": hub.pull_from_hub,
            "push_to_hub": hub.push_to_hub,
            "status": self._status,
            "stream": self._stream,
            "transform": self._transform,
        }

    def close(self) -> None:
        """End the processes that stand by."""
        self._errands.close()

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
        with self._called(header, payload, client) as call:
            if call.spec.name in GENERATION_TASKS:
                request = call.text_request()
                with closing(self._engine.generate(call.directory, request, client.cancelled)) as rows:
                    results = request.results(rows)
            else:
                args = {**call.defaults, **call.args}
                results = self._engine.transform(call.directory, call.spec, call.inputs, args, client.cancelled)
        return {"ok": True}, frames.encode(results)

    def _stream(self, header: dict[str, Any], payload: bytes, client: Client) -> Answer:
        with self._called(header, payload, client) as call:
            if call.spec.name not in GENERATION_TASKS:
                raise RuntimeFault(
                    f"task {call.spec.name} cannot be streamed",
                    sqlstate=FEATURE_NOT_SUPPORTED,
                    hint=f"Use pgml.transform; tasks that can be streamed are: {quoted_list(GENERATION_TASKS)}.",
                )
            request = call.text_request()
            with closing(self._engine.generate(call.directory, request, client.cancelled)) as rows:
                for row in request.rows(rows):
                    client.send_piece(row)
        return {"ok": True}, b""

    @contextmanager
    def _called(self, header: dict[str, Any], payload: bytes, client: Client) -> Iterator[_Call]:
        """What `transform` and `stream` are asked to do, with the model's files at hand."""
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
        if task.get("task") == "embedding":  # pgml.embed has one object for both
            task, args = {**args, **task}, {}
        with self._directory(model, client) as directory:
            own = None if task.get("task") else model.get("task") or own_task(directory.path, directory.name, inputs)
            remote_code = (directory.base or directory).remote_code
            spec, defaults = parse_task(task, own, remote_code=remote_code)
            for notice in notices(task, spec):
                client.notify(notice)
            yield _Call(directory, spec, inputs, defaults, args, plain=header.get("form") == "text")

    def _check_tune(self, header: dict[str, Any], payload: bytes, client: Client) -> Answer:
        from pgml.runtime.tuning.check import check_tune  # noqa: PLC0415 only tuning needs what it imports
        from pgml.runtime.tuning.resuming.wanted_checkpoint import wants_checkpoint  # noqa: PLC0415 as above

        model = header.get("model")
        if model is None:
            return {"ok": True, "plan": check_tune(header, None, self._errands, client)}, b""
        with self._directory({**model, "resume": wants_checkpoint(header)}, client) as directory:
            base = directory.base or directory
            found = {"name": base.name, "commit": base.revision, "remote_code": base.remote_code}
            asked = {**header, "model": found, "adapter": None}
            if directory.base:
                asked["adapter"] = {"name": directory.name, "path": self._kept(directory, header, "adapter")}
            plan = check_tune(asked, self._kept(base, header, "base"), self._errands, client)
            return {"ok": True, "plan": plan}, b""

    def _kept(self, directory: ModelDirectory, header: dict[str, Any], name: str) -> str:
        """Where the trainer finds a model: it may start when the cache has evicted one that is stored."""
        if not directory.digest:
            return directory.path
        kept = Path(_typed(header, "job_directory", str), name)
        link_files(Path(directory.path), kept)
        return str(kept)

    def _prepare(self, header: dict[str, Any], payload: bytes, client: Client) -> Answer:
        from pgml.runtime.tuning.examples.rows import prepare  # noqa: PLC0415 as above

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
        """The checked directory of a model, fetched if need be, and that of its base if it is an adapter."""
        with self._own_directory(model, client) as directory:
            if not is_adapter(directory.path):
                yield directory
                return
            base = bases.base_of(directory)
            with bases.explained(base, directory.name):
                resolved = client.resolve(base.name, base.revision)
            with self._whole_directory(resolved, client, lambda: bases.explained(base, directory.name)) as found:
                bases.check_unchanged(base, directory.name, found.path)
                yield replace(directory, base=found)

    @contextmanager
    def _whole_directory(
        self, model: dict[str, Any], client: Client, guard: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> Iterator[ModelDirectory]:
        """The directory of a model that is no adapter; `guard` is around whatever finds it."""
        with ExitStack() as stack:
            with guard():
                directory = stack.enter_context(self._own_directory(model, client))
                if is_adapter(directory.path):
                    raise RuntimeFault(
                        f'model "{directory.name}" is an adapter, which cannot be a base',
                        sqlstate=FEATURE_NOT_SUPPORTED,
                        hint="Name the model that the adapter was tuned on.",
                    )
            yield directory

    @contextmanager
    def _own_directory(self, model: dict[str, Any], client: Client) -> Iterator[ModelDirectory]:
        if model.get("kind") == "stored":
            stored = StoredModel.from_request(model)
            with self._store.use(stored, lambda: client.fetch(stored.digest)) as path:
                check_directory(str(path), stored.name)
                yield ModelDirectory(stored.name, str(path), stored.digest)
        elif model.get("kind") == "directory":
            path, name = _typed(model, "path", str), _typed(model, "name", str)
            check_directory(path, name)
            yield ModelDirectory(name, path)
        elif model.get("kind") == "hub":
            directory = self._hub_models.find(model, client)
            check_directory(directory.path, directory.name)
            yield directory
        else:
            raise RuntimeFault(f'unknown kind of model "{model.get("kind")}"', sqlstate=PROTOCOL_VIOLATION)


@dataclass(frozen=True)
class _Call:
    """A request to use a model."""

    directory: ModelDirectory
    spec: TaskSpec
    inputs: list[Any]
    defaults: dict[str, Any]
    args: dict[str, Any]
    plain: bool

    def text_request(self) -> TextRequest:
        return TextRequest(self.spec, self.inputs, self.defaults, self.args, plain=self.plain)


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
