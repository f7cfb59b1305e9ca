"""Keep contents by their sha256 in a directory. Knows nothing of repositories."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

CHUNK = 1 << 16
SAMPLE = 512
LARGE = 10 * 1024 * 1024
# What .gitattributes of a new repository names, as on the Hub.
LFS_SUFFIXES = "7z arrow bin bz2 ckpt ftz gguf gz h5 joblib model msgpack npy npz onnx parquet pb pickle pkl pt pth safetensors tar tgz wasm xz zip zst".split()  # noqa: E501 - a list of words reads best on one line


class Incoming:
    """A content that arrives in pieces."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.size = 0
        self.digest = hashlib.sha256()

    def write(self, piece: bytes) -> None:
        self.file.write(piece)
        self.size += len(piece)
        self.digest.update(piece)

    @property
    def sha256(self) -> str:
        return self.digest.hexdigest()


class Blobs:
    """The contents below one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        return self.directory / sha256[:2] / sha256[2:]

    def __contains__(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    def read(self, sha256: str) -> bytes:
        return self.path(sha256).read_bytes()

    def pieces(self, sha256: str, start: int, length: int) -> Iterator[bytes]:
        with self.path(sha256).open("rb") as file:
            file.seek(start)
            while length > 0 and (piece := file.read(min(CHUNK, length))):
                length -= len(piece)
                yield piece

    def put(self, content: bytes) -> str:
        with self.receiving() as incoming:
            incoming.write(content)
            return self.keep(incoming)

    @contextlib.contextmanager
    def receiving(self) -> Iterator[Incoming]:
        """A file to write into; it is gone at the end unless it was kept."""
        with tempfile.NamedTemporaryFile(dir=self.directory, delete=False) as file:
            try:
                yield Incoming(file)
            finally:
                Path(file.name).unlink(missing_ok=True)

    def keep(self, incoming: Incoming) -> str:
        incoming.file.flush()
        target = self.path(incoming.sha256)
        target.parent.mkdir(exist_ok=True)
        Path(incoming.file.name).rename(target)
        return incoming.sha256


def git_oid(content: bytes) -> str:
    """What git calls a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    """What git keeps in place of a large file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def is_large(path: str, size: int, sample: bytes) -> bool:
    """Whether the Hub keeps a file in LFS."""
    if size == 0:
        return False
    return path.rpartition(".")[2].lower() in LFS_SUFFIXES or size >= LARGE or b"\0" in sample


def gitattributes() -> bytes:
    return "".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES).encode()
