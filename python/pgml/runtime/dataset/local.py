"""Files of this machine that may be loaded: those below the allowed directories. Knows nothing of formats."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from pathlib import Path

from pgml.runtime.errors import INSUFFICIENT_PRIVILEGE, UNDEFINED_FILE, RuntimeFault

HINT = "The setting pgml.data_directories says from which directories files may be loaded."
CHAIN = "::"
"""In a name it leads the library that opens files elsewhere."""


@dataclass(frozen=True)
class Allowed:
    """The directories below which files may be read."""

    directories: tuple[Path, ...]

    @classmethod
    def from_request(cls, directories: list[str]) -> Allowed:
        """Read the directories of a request, which are absolute."""
        return cls(tuple(Path(os.path.realpath(directory)) for directory in directories))

    def inside(self, path: str | Path) -> Path | None:
        """The real path of a file, links followed, if it is below a directory."""
        if "\0" in str(path):
            return None
        real = Path(os.path.realpath(path))
        return real if any(real.is_relative_to(directory) for directory in self.directories) else None

    def may_read(self, path: str) -> Path | None:
        """The file that an absolute path in the data names, if it is below a directory."""
        real = self.inside(path) if Path(path).is_absolute() else None
        return real if real and real.is_file() else None

    def find(self, name: str) -> Path | None:
        """A file or directory by its absolute path or its path below a directory; None if none is there."""
        if Path(name).is_absolute():
            real = self.permitted(name)
            if not real.exists():
                raise RuntimeFault(f'file "{name}" does not exist', sqlstate=UNDEFINED_FILE)
            return real
        for directory in self.directories:
            real = self.permitted(directory / name, name)
            if real.exists():
                return real
        return None

    def expand(self, pattern: str, base: Path | None = None) -> list[Path]:
        """The files that a pattern means: absolute, or below the base or one of the directories."""
        if not self.directories:
            raise self._refusal(pattern)
        parts = Path(pattern).parts
        fixed = next((index for index, part in enumerate(parts) if glob.has_magic(part)), len(parts))
        if ".." in parts[fixed:]:
            raise self._refusal(pattern)
        for root in [base] if base else self.directories:
            start = self.permitted(root.joinpath(*parts[:fixed]), pattern)  # an absolute path replaces the root
            names = sorted(start.glob(str(Path(*parts[fixed:])))) if parts[fixed:] else [start]
            files = [path for path in (self.permitted(name, pattern) for name in names) if path.is_file()]
            if files:
                return files
        raise RuntimeFault(f'no file matches "{pattern}"', sqlstate=UNDEFINED_FILE)

    def shown(self, path: str) -> str:
        """A path for a message: relative to the directory that it is below."""
        for directory in self.directories:
            if Path(path).is_relative_to(directory):
                return str(Path(path).relative_to(directory))
        return Path(path).name

    def permitted(self, path: str | Path, name: str | None = None) -> Path:
        """The real path of a file that must be below a directory; `name` is what the user calls it."""
        real = self.inside(path)
        if real is None or CHAIN in str(real):
            raise self._refusal(str(name or path))
        return real

    def _refusal(self, name: str) -> RuntimeFault:
        # The same whether there is such a file or not.
        return RuntimeFault(
            f'file "{name}" is not below a directory from which data may be loaded',
            sqlstate=INSUFFICIENT_PRIVILEGE,
            hint=HINT,
        )


def files_below(directory: Path) -> list[str]:
    """The names of all files below a directory, sorted, links to files among them."""
    return sorted(
        (Path(folder) / file).relative_to(directory).as_posix()
        for folder, _, files in os.walk(directory)
        for file in files
    )
