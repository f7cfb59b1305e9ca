"""Keep the files of stored models in a cache directory, by digest, and evict the least recently used.

Files are asked for by a function that the caller gives. Knows nothing of sockets, of loading models or of tasks.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pgml.runtime.errors import DATA_CORRUPTED, PROTOCOL_VIOLATION, RuntimeFault

logger = logging.getLogger(__name__)

Parts = Generator[tuple[str, bytes], None, None]
"""What a backend sends for a model: the path of a file and the next bytes of it, until all files are through."""


@dataclass(frozen=True)
class StoredFile:
    """One file of a stored model."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class StoredModel:
    """A model of the registry as a request names it."""

    name: str
    digest: str
    files: tuple[StoredFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)

    @classmethod
    def from_request(cls, model: dict[str, Any]) -> StoredModel:
        """Read and check a model object of kind "stored"."""
        try:
            files = tuple(StoredFile(str(f["path"]), int(f["size"]), str(f["sha256"])) for f in model["files"])
            stored = cls(str(model["name"]), str(model["digest"]), files)
        except (KeyError, TypeError, ValueError) as error:
            raise RuntimeFault("request names a malformed stored model", sqlstate=PROTOCOL_VIOLATION) from error
        for file in files:
            _check_path(file.path)
        if stored.digest != digest_of(files):
            raise RuntimeFault(
                f'digest of stored model "{stored.name}" does not match its files', sqlstate=DATA_CORRUPTED
            )
        return stored


def digest_of(files: tuple[StoredFile, ...]) -> str:
    """The sha256 of the lines `path NUL size NUL sha256 LF`, sorted by path."""
    lines = "".join(f"{f.path}\0{f.size}\0{f.sha256}\n" for f in sorted(files, key=lambda f: f.path.encode()))
    return hashlib.sha256(lines.encode()).hexdigest()


class Store:
    """The cache directory. `limit` is in bytes, 0 is no limit; digests that `loaded` gives are not evicted."""

    def __init__(self, root: Path, limit: int = 0, loaded: Callable[[], set[str]] = set) -> None:
        self._root = root
        self._limit = limit
        self._loaded = loaded
        self._lock = threading.Lock()
        self._fillers: dict[str, threading.Lock] = {}
        self._users: Counter[str] = Counter()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._remove_leftovers()

    @contextmanager
    def use(self, model: StoredModel, fetch: Callable[[], Parts]) -> Iterator[Path]:
        """The directory of a model, which stays as long as the context; `fetch` is called if it is not there yet."""
        with self._lock:
            self._users[model.digest] += 1
            filler = self._fillers.setdefault(model.digest, threading.Lock())
        try:
            directory = self._root / model.digest
            with filler:
                if _is_complete(directory, model):
                    os.utime(directory)  # the time of the last use, also for the next process
                else:
                    with closing(fetch()) as parts:
                        self._fill(directory, model, parts)
            yield directory
        finally:
            with self._lock:
                self._users[model.digest] -= 1
                if not self._users[model.digest]:
                    del self._users[model.digest]
                    del self._fillers[model.digest]

    def _fill(self, directory: Path, model: StoredModel, parts: Parts) -> None:
        self._evict(model.size)
        temporary = Path(tempfile.mkdtemp(prefix="filling-", dir=self._root))
        try:
            _receive(temporary, model, parts)
            shutil.rmtree(directory, ignore_errors=True)  # an incomplete one, after a crash of the machine
            temporary.rename(directory)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def _evict(self, wanted: int) -> None:
        """Remove unused models, the least recently used first, until `wanted` more bytes are within the limit."""
        if not self._limit:
            return
        with self._lock:
            kept = self._loaded() | set(self._users)
            models = sorted(self._models(), key=lambda path: path.stat().st_mtime)
            sizes = {path: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in models}
            excess = sum(sizes.values()) + wanted - self._limit
            for path in models:
                if excess <= 0:
                    break
                if path.name not in kept:
                    shutil.rmtree(path)
                    excess -= sizes[path]
                    logger.info("evicted model %s from the cache", path.name)

    def _models(self) -> list[Path]:
        return [path for path in self._root.iterdir() if len(path.name) == 64]

    def _remove_leftovers(self) -> None:
        for path in self._root.glob("filling-*"):
            shutil.rmtree(path)


def link_files(source: Path, target: Path) -> None:
    """Give the files below `source` a second name below `target`."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=link_file)


def link_file(original: str | Path, name: str | Path) -> None:
    """Give a file a second name; on another file system, copy it."""
    try:
        os.link(os.path.realpath(original), name)  # the Hub's cache is full of symbolic links
    except OSError:
        shutil.copy2(original, name)


def _receive(directory: Path, model: StoredModel, parts: Parts) -> None:
    """Write the parts to files; the first deviation from what was announced ends it."""
    part = next(parts, None)
    for file in model.files:
        path = directory / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        with path.open("xb") as output:
            while part is not None and part[0] == file.path:
                size += len(part[1])
                digest.update(part[1])
                if size > file.size:
                    break
                output.write(part[1])
                part = next(parts, None)
        if size != file.size or digest.hexdigest() != file.sha256:
            raise RuntimeFault(
                f'file "{file.path}" of stored model "{model.name}" is corrupted',
                sqlstate=DATA_CORRUPTED,
                detail=f"Received {size} bytes with {digest.hexdigest()}, expected {file.size} with {file.sha256}.",
            )
    if part is not None:
        raise RuntimeFault(f'unexpected file "{part[0]}" of stored model "{model.name}"', sqlstate=PROTOCOL_VIOLATION)


def _is_complete(directory: Path, model: StoredModel) -> bool:
    # Renamed without fsync: after a crash of the machine the directory may be there and its files cut short.
    try:
        return all((directory / file.path).stat().st_size == file.size for file in model.files)
    except FileNotFoundError:
        return False


def _check_path(path: str) -> None:
    plain = PurePosixPath(path)
    if not path or "\0" in path or plain.is_absolute() or ".." in plain.parts or str(plain) != path or path == ".":
        raise RuntimeFault(f'path "{path}" of a stored model is not a plain relative path', sqlstate=PROTOCOL_VIOLATION)
