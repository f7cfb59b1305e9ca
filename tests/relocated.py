"""A copy of the PostgreSQL of the tests, which a test may install into.

PostgreSQL finds its directories from where its programs lie, so a copied tree is an installation of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import PG_CONFIG


@dataclass(frozen=True)
class Installation:
    """Where an installation of PostgreSQL keeps what belongs to extensions."""

    pg_config: Path

    @property
    def libraries(self) -> Path:
        return self._directory("--pkglibdir")

    @property
    def extensions(self) -> Path:
        return self._directory("--sharedir") / "extension"

    def extension_files(self) -> list[Path]:
        """The files of pgml."""
        return [*self.libraries.glob("pgml.so"), *self.extensions.glob("pgml*")]

    def remove_extension(self) -> None:
        for file in self.extension_files():
            file.unlink()

    def install_extension(self) -> None:
        """Put the files of pgml, as they are installed for the tests, over what is there."""
        source = Installation(Path(PG_CONFIG))
        for file in source.extension_files():
            target = self.libraries if file.suffix == ".so" else self.extensions
            beside = target / f"{file.name}.new"
            shutil.copy(file, beside)
            beside.rename(target / file.name)  # a running server keeps the library it has mapped

    def _directory(self, option: str) -> Path:
        return Path(subprocess.check_output([self.pg_config, option], text=True).strip())


@contextmanager
def relocated_postgresql() -> Iterator[Installation]:
    """A copy, with pgml in it as it is installed now; `Cluster(pg_config=…)` and `throwaway(pg_config=…)` run it."""
    root = Path(tempfile.mkdtemp(prefix="pgml-postgresql-", dir="/tmp"))
    root.chmod(0o755)  # PostgreSQL runs as another user
    try:
        source = Path(PG_CONFIG).resolve()
        options = ("--bindir", "--pkglibdir", "--sharedir")
        for directory in subprocess.check_output([source, *options], text=True).split():
            # The bitcode is for inlining by the JIT compiler, and half of the whole.
            ignore = shutil.ignore_patterns("bitcode", "*.a")
            shutil.copytree(directory, root / directory.lstrip("/"), symlinks=True, ignore=ignore)
        yield Installation(root / str(source).lstrip("/"))
    finally:
        shutil.rmtree(root)
