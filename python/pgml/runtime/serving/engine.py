"""Keep loaded models, evict the least recently used, and give requests their turns. Knows nothing of sockets.

All loading and computing happens in one thread that takes steps in the order they are asked for. That gives each
request its turn between the micro-batches of the others, lets a model be loaded once whoever asks, keeps tokenizers and
transformers' loading code (neither is safe in threads) from running twice at once, and keeps one OpenMP pool.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import torch

from pgml.runtime.errors import OUT_OF_MEMORY, Cancelled, RuntimeFault, as_fault
from pgml.runtime.serving.directories import Fingerprint, fingerprint, weights_size
from pgml.runtime.tasks import LoadedModel, Results, TaskSpec, task_module

logger = logging.getLogger(__name__)

T = TypeVar("T")
Cancel = Callable[[], bool]
RETRY_SECONDS = 0.05


@dataclass(frozen=True)
class ModelDirectory:
    """Where a model is. A stored model has a digest; any other is told apart by the state of its files."""

    name: str
    path: str
    digest: str | None = None


@dataclass(frozen=True)
class _Key:
    path: str
    files: Fingerprint
    task: TaskSpec


@dataclass
class _Entry:
    directory: ModelDirectory
    model: LoadedModel
    bytes: int
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    last_used_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    uses: int = 0
    running: int = 0

    def status(self) -> dict[str, Any]:
        return {
            "name": self.directory.name,
            "digest": self.directory.digest,
            "task": self.model.task.name,
            "bytes": self.bytes,
            "loaded_at": self.loaded_at.isoformat(),
            "last_used_at": self.last_used_at.isoformat(),
            "uses": self.uses,
            "device": str(self.model.module.device),
        }


class Engine:
    """The loaded models. `memory_limit` is in bytes of weights, 0 is no limit; `threads` 0 is all cores."""

    def __init__(self, memory_limit: int = 0, threads: int = 0) -> None:
        self._memory_limit = memory_limit
        self._lock = threading.Lock()
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()  # the least recently used first
        self._computing = ThreadPoolExecutor(1, thread_name_prefix="computing")
        torch.set_num_threads(threads or len(os.sched_getaffinity(0)))

    def transform(
        self, directory: ModelDirectory, task: TaskSpec, inputs: list[Any], args: dict[str, Any], cancelled: Cancel
    ) -> list[Any]:
        """The results of a task in the order of the inputs; null for null."""
        positions = [position for position, value in enumerate(inputs) if value is not None]
        results: list[Any] = [None] * len(inputs)
        if not positions:
            return results
        with self._using(directory, task, cancelled) as model:
            steps = task_module(task.name).run(model, [inputs[position] for position in positions], args, cancelled)
            missing = len(positions)
            while missing:
                finished: Results = self._step(lambda: next(steps), cancelled)
                for number, result in finished:
                    results[positions[number]] = result
                missing -= len(finished)
        return results

    def digests(self) -> set[str]:
        """The digests of the stored models that are loaded."""
        with self._lock:
            return {entry.directory.digest for entry in self._entries.values() if entry.directory.digest}

    def status(self) -> list[dict[str, Any]]:
        """One object per loaded model, the least recently used first."""
        with self._lock:
            return [entry.status() for entry in self._entries.values()]

    def _step(self, function: Callable[[], T], cancelled: Cancel) -> T:
        """Run a function when it is its turn, unless the client went away meanwhile."""

        def step() -> T:
            if cancelled():
                raise Cancelled
            return function()

        result = self._computing.submit(step).result()
        if cancelled():
            raise Cancelled
        return result

    @contextmanager
    def _using(self, directory: ModelDirectory, task: TaskSpec, cancelled: Cancel) -> Iterator[LoadedModel]:
        """A loaded model, which is not evicted within the context."""
        key = _Key(directory.path, () if directory.digest else fingerprint(directory.path), task)
        entry = self._enter(key)
        while entry is None:
            if not self._step(lambda: self._load(key, directory), cancelled):
                time.sleep(RETRY_SECONDS)  # all the room is taken by models in use
            entry = self._enter(key)
        try:
            yield entry.model
        finally:
            with self._lock:
                entry.running -= 1

    def _enter(self, key: _Key) -> _Entry | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
                entry.running += 1
                entry.uses += 1
                entry.last_used_at = datetime.now(UTC)
            return entry

    def _load(self, key: _Key, directory: ModelDirectory) -> bool:
        """Load a model unless another request has done so; False if there is no room for it now."""
        if key in self._entries:
            return True
        self._forget_changed(key)
        if not self._make_room(weights_size(directory.path), directory.name):
            return False
        start = time.monotonic()
        try:
            model = task_module(key.task.name).load(directory.path, key.task)
        except RuntimeFault as fault:
            message = f'cannot use model "{directory.name}": {fault.message}'
            raise RuntimeFault(message, sqlstate=fault.sqlstate, detail=fault.detail, hint=fault.hint) from fault
        except Exception as error:
            logger.exception('could not load model "%s"', directory.name)
            raise as_fault(error, f'load model "{directory.name}"') from error
        # What was read may be larger in memory than on disk, so room may be missing only now.
        if not self._make_room(model.bytes, directory.name):
            return False
        with self._lock:
            self._entries[key] = _Entry(directory, model, model.bytes)
        logger.info('loaded model "%s" for %s in %.1f s', directory.name, key.task.name, time.monotonic() - start)
        return True

    def _forget_changed(self, key: _Key) -> None:
        """Drop what was loaded from the directory before its files changed."""
        with self._lock:
            for other in [k for k in self._entries if k.path == key.path and k.files != key.files]:
                del self._entries[other]

    def _make_room(self, wanted: int, name: str) -> bool:
        """Evict models that no request uses until `wanted` bytes are within the limit; False if that is not enough."""
        if not self._memory_limit:
            return True
        if wanted > self._memory_limit:
            raise RuntimeFault(
                f'model "{name}" is larger than the memory limit of the runtime',
                sqlstate=OUT_OF_MEMORY,
                detail=f"It takes {wanted} bytes of {self._memory_limit}.",
                hint="Raise pgml.model_memory_limit, or use a smaller model.",
            )
        with self._lock:
            excess = sum(entry.bytes for entry in self._entries.values()) + wanted - self._memory_limit
            for key in [key for key, entry in self._entries.items() if not entry.running]:
                if excess <= 0:
                    break
                evicted = self._entries.pop(key)
                excess -= evicted.bytes
                logger.info('evicted model "%s" from memory', evicted.directory.name)
                del evicted
                _give_memory_back()
        return excess <= 0


def _give_memory_back() -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
