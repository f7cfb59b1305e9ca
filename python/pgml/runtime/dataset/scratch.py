"""A directory for what is needed during one load. If the process is killed, the next load removes it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[None]:
    """Let temporary files of this process lie below the parent meanwhile."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_abandoned(parent)
    # Locked before it has the name by which others look for it.
    new = Path(tempfile.mkdtemp(prefix="new-", dir=parent))
    with _locked(new):
        directory = new.rename(parent / new.name.replace("new-", "load-", 1))
        before, tempfile.tempdir = tempfile.tempdir, str(directory)
        try:
            yield
        finally:
            tempfile.tempdir = before
            shutil.rmtree(directory, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    for directory in parent.glob("load-*"):
        with contextlib.suppress(OSError), _locked(directory):
            shutil.rmtree(directory)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory, which ends with the process; OSError if another holds it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
