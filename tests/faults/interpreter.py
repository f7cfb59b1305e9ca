"""What pgml.python points at in tests of faults: Python, unless a test makes it behave otherwise."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

FAKE_TRAINER = Path(__file__).parents[1] / "assets" / "fake_trainer.py"
REAL = os.environ.get("PGML_PYTHON", "")


class Interpreter:
    """A shell script that becomes Python after it has done what the file beside it says."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="pgml-python-", dir="/tmp"))
        self.home.chmod(0o755)
        self.path = self.home / "python"
        self.path.write_text(f'#!/bin/sh\n. "{self.home}/behaviour"\nexec "{REAL}" "$@"\n')
        self.path.chmod(0o755)
        shutil.copy(FAKE_TRAINER, self.home)
        self.behave("")

    def behave(self, script: str) -> None:
        """Run these shell commands before Python; `exit` and `exec` keep it from starting."""
        new = self.home / "behaviour.new"
        new.write_text(script + "\n")
        new.chmod(0o644)
        new.rename(self.home / "behaviour")

    @contextlib.contextmanager
    def behaving(self, script: str) -> Iterator[None]:
        self.behave(script)
        try:
            yield
        finally:
            self.behave("")

    def trainer(self, script: str) -> contextlib.AbstractContextManager[None]:
        """As `behaving`, for trainers only."""
        return self.behaving(f'case "$*" in *pgml.runtime.train*)\n{script}\n;; esac')

    def server(self, script: str) -> contextlib.AbstractContextManager[None]:
        """As `behaving`, for server processes only."""
        return self.behaving(f'case "$*" in *pgml.runtime.serve*)\n{script}\n;; esac')

    def fake_trainer(self, options: str = "", before: str = "") -> contextlib.AbstractContextManager[None]:
        """Trainers without torch: they start at once and never end, unless the options say so."""
        return self.trainer(f'{before}\nexec "{REAL}" -I "{self.home}/{FAKE_TRAINER.name}" {options} "$@"')

    def remove(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
