"""Download large files into the cache of huggingface_hub so that a download goes on where a former one ended.

huggingface_hub begins a file again, and compares no checksums. Knows nothing of models.

    <cache>/models--org--name/blobs/<sha256>           a whole file
    <cache>/models--org--name/blobs/<sha256>.partial   what there is of one
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub.file_download import http_get
from huggingface_hub.utils._fixes import WeakFileLock

from pgml.runtime.errors import CONNECTION_FAILURE, DISK_FULL, RuntimeFault

LARGE = 10 << 20
"""What is smaller comes in one piece anyway."""
DOWNLOADS_AT_ONCE = 4
SECONDS_OF_LEFTOVERS = 86400


class Blob(NamedTuple):
    """A file by its contents, and where it is at the Hub."""

    url: str
    sha256: str
    size: int


def fetch(folder: Path, blobs: Iterable[Blob], headers: dict[str, str], bars: type) -> None:
    """Have the contents of all files in the folder of a repository; the first fault ends it."""
    missing = [blob for blob in blobs if not _path(folder, blob).exists()]
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        running = [pool.submit(_fetch, folder, blob, headers, bars) for blob in missing]
        try:
            for future in running:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def check_room(path: Path, wanted: int) -> None:
    """Refuse to begin what cannot be finished: the database may be on the same disk."""
    state = os.statvfs(path)
    free = state.f_bavail * state.f_frsize
    if wanted > free:
        raise RuntimeFault(
            "no space is left for files of the Hub",
            sqlstate=DISK_FULL,
            detail=f"{wanted / 1e9:.2f} GB are wanted, and {free / 1e9:.2f} GB are free in {path}.",
            hint="Free some, or have pgml.hub_cache elsewhere.",
        )


def remove_leftovers(folder: Path) -> None:
    """Remove what huggingface_hub left of small files when it was ended: it makes no use of it."""
    for path in folder.glob("blobs/*.incomplete"):
        if path.stat().st_mtime < time.time() - SECONDS_OF_LEFTOVERS:
            path.unlink(missing_ok=True)


def _path(folder: Path, blob: Blob) -> Path:
    return folder / "blobs" / blob.sha256


def _fetch(folder: Path, blob: Blob, headers: dict[str, str], bars: type) -> None:
    path = _path(folder, blob)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The lock that huggingface_hub has for the same file.
    lock = folder.parent / ".locks" / folder.name / f"{blob.sha256}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if not path.exists():
            partial = path.with_name(f"{path.name}.partial")
            _go_on(partial, blob, headers, bars)
            _check(partial, blob)
            partial.replace(path)


def _go_on(partial: Path, blob: Blob, headers: dict[str, str], bars: Any) -> None:
    try:
        with partial.open("ab") as file:
            if file.tell() > blob.size:
                file.truncate(0)
            start = file.tell()
            http_get(blob.url, file, resume_size=start, headers=headers, expected_size=blob.size, tqdm_class=bars)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            partial.unlink()  # the database may need the room
        raise


def _check(partial: Path, blob: Blob) -> None:
    with partial.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != blob.sha256:
        partial.unlink()
        raise RuntimeFault(
            "download from the Hub is broken",
            sqlstate=CONNECTION_FAILURE,
            detail=f"A file of {blob.size} bytes has the checksum {found}, which should be {blob.sha256}.",
            hint="Try again.",
        )
