"""Keep loaded models within a limit of memory, and evict the least recently used. Knows nothing of turns and requests.

Loading, evicting and dropping are for the computing thread; the rest is for any thread.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pgml.runtime.errors import OUT_OF_MEMORY, RuntimeFault
from pgml.runtime.serving.directories import Fingerprint, fingerprint
from pgml.runtime.tasks import LoadedModel, TaskSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelDirectory:
    """Where a model is. A stored model has a digest; any other is told apart by the state of its files.

    An adapter has the model it was tuned on for its base. A model of the Hub has a revision, the commit.
    `remote_code` says whether code that is in the directory may be run, `role` for whom alone a private one is.
    """

    name: str
    path: str
    digest: str | None = None
    base: ModelDirectory | None = None
    revision: str | None = None
    remote_code: bool = False
    role: str | None = None


@dataclass(frozen=True)
class Key:
    """What tells one loaded model from another."""

    path: str
    files: Fingerprint
    task: TaskSpec
    base: Key | None = None

    @property
    def sources(self) -> tuple[Any, ...]:
        """What it is read from, whatever for."""
        return (self.path, self.files, *(self.base.sources if self.base else ()))

    @classmethod
    def of(cls, directory: ModelDirectory, task: TaskSpec) -> Key:
        """The key of a directory as it is now."""
        files = () if directory.digest else fingerprint(directory.path)
        base = None if directory.base is None else cls.of(directory.base, task)
        return cls(directory.path, files, task, base)


@dataclass
class Entry:
    """A loaded model; an adapter on a base that is loaded once has its own entry beside the base's."""

    directory: ModelDirectory
    model: LoadedModel
    bytes: int
    release: Callable[[], None] | None = None
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    last_used_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    uses: int = 0
    running: int = 0
    dropped: bool = False

    def status(self) -> dict[str, Any]:
        """What pgml.loaded_models shows."""
        status = {
            "name": self.directory.name,
            "digest": self.directory.digest,
            "task": self.model.task.name,
            "bytes": self.bytes,
            "loaded_at": self.loaded_at.isoformat(),
            "last_used_at": self.last_used_at.isoformat(),
            "uses": self.uses,
            "device": str(self.model.module.device),
        }
        if self.directory.base is not None:
            status["base"] = self.directory.base.name
        if self.directory.role is not None:
            status["role"] = self.directory.role
        return status


class Models:
    """The loaded models. `limit` is in bytes of weights, 0 is no limit."""

    def __init__(self, limit: int = 0) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._entries: OrderedDict[Key, Entry] = OrderedDict()  # the least recently used first

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def enter(self, key: Key) -> Entry | None:
        """A model for use until `leave`, during which it is not evicted."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
                entry.running += 1
                entry.uses += 1
                entry.last_used_at = datetime.now(UTC)
            return entry

    def leave(self, entry: Entry) -> bool:
        """End a use; whether the entry was dropped meanwhile and is now to be released."""
        with self._lock:
            entry.running -= 1
            return entry.dropped and not entry.running and entry.release is not None

    def add(self, key: Key, entry: Entry) -> None:
        """Keep a model."""
        with self._lock:
            self._entries[key] = entry

    def digests(self) -> set[str]:
        """The digests of the stored models that are loaded."""
        with self._lock:
            return {entry.directory.digest for entry in self._entries.values() if entry.directory.digest}

    def status(self) -> list[dict[str, Any]]:
        """One object per loaded model, the least recently used first."""
        with self._lock:
            return [entry.status() for entry in self._entries.values()]

    def forget_changed(self, key: Key) -> None:
        """Drop what was loaded from the directory before its files changed, and what leans on that."""
        with self._lock:
            gone = [k for k in self._entries if k.path == key.path and k.sources != key.sources]
            gone += [k for k in self._entries if k.base in gone and k not in gone]
            for other in gone:
                self._drop(other)

    def make_room(self, wanted: int, name: str) -> bool:
        """Evict models that nothing uses until `wanted` bytes are within the limit; False if that is not enough."""
        if not self._limit:
            return True
        if wanted > self._limit:
            raise RuntimeFault(
                f'model "{name}" is larger than the memory limit of the runtime',
                sqlstate=OUT_OF_MEMORY,
                detail=f"It takes {wanted} bytes of {self._limit}.",
                hint="Raise pgml.model_memory_limit, or use a smaller model.",
            )
        with self._lock:
            while (excess := sum(entry.bytes for entry in self._entries.values()) + wanted - self._limit) > 0:
                bases = {key.base for key in self._entries}
                unused = [k for k, entry in self._entries.items() if not entry.running and k not in bases]
                if not unused:
                    break
                logger.info('evicted model "%s" from memory', self._entries[unused[0]].directory.name)
                self._drop(unused[0])
                _give_memory_back()
        return excess <= 0

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key)
        entry.dropped = True
        if entry.release is not None and not entry.running:
            entry.release()


def _give_memory_back() -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
