"""Where a data set is: at the Hub, in a directory or in files of this machine, or behind a URL that is allowed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pgml.runtime.dataset import repository, urls
from pgml.runtime.dataset.arguments import OPTIONS, Arguments
from pgml.runtime.dataset.layout import Files, Layout, by_split, explicit_layout, format_of, layout_of
from pgml.runtime.dataset.local import Allowed, files_below
from pgml.runtime.dataset.repository import Repository
from pgml.runtime.errors import INVALID_PARAMETER_VALUE, UNDEFINED_FILE, RuntimeFault
from pgml.runtime.hub.settings import HubSettings

if TYPE_CHECKING:
    from pgml.runtime.hub.errand import Out


@dataclass(frozen=True)
class Source:
    """A data set that was found: what its files are, and where each can be read."""

    layout: Layout
    allowed: Allowed
    root: Path | None = None
    repository: Repository | None = None
    token: str | bool = False

    def location(self, name: str) -> str:
        """Where a file can be read."""
        if self.repository:
            return self.repository.location(name)
        return str(self.allowed.permitted(self.root / name, name) if self.root else name)

    def download(self, names: Iterable[str], out: Out) -> None:
        """Bring the files here, if they are at the Hub."""
        if self.repository:
            self.repository.download(names, out)

    def shown(self, name: str) -> str:
        """A file's name for a message."""
        if self.repository:
            return name
        return self.allowed.shown(str(self.root / name if self.root else name))


def open_source(
    arguments: Arguments, settings: HubSettings, allowed: Allowed, downloads: urls.Downloads, out: Out
) -> Source:
    """Find what the arguments name."""
    name = arguments.source
    if urls.is_url(name):
        arguments = replace(arguments, data_files=arguments.data_files or name)
        return _named_files(arguments, None, allowed, downloads)
    if name in OPTIONS and (arguments.data_files or arguments.data_dir):
        return _named_files(arguments, name, allowed, downloads)
    _refuse_urls(arguments, downloads)
    path = allowed.find(name) if allowed.directories or Path(name).is_absolute() else None
    return _here(path, arguments, allowed) if path else _at_hub(arguments, settings, allowed, out)


def _here(path: Path, arguments: Arguments, allowed: Allowed) -> Source:
    def read(name: str) -> str:
        return allowed.permitted(path / name).read_text()

    if path.is_dir():
        return Source(layout_of(files_below(path), read, arguments, arguments.source), allowed, root=path)
    if arguments.data_files or arguments.data_dir or arguments.subset:
        message = f'"{arguments.source}" is a file, which has no subset and no files in it'
        raise RuntimeFault(message, sqlstate=INVALID_PARAMETER_VALUE)
    return Source(explicit_layout({"train": [str(path)]}, None, arguments.source), allowed)


def _named_files(arguments: Arguments, format_: str | None, allowed: Allowed, downloads: urls.Downloads) -> Source:
    title = format_ or "at this URL"
    base = allowed.find(arguments.data_dir) if arguments.data_dir else None
    if arguments.data_dir and base is None:
        raise RuntimeFault(f'directory "{arguments.data_dir}" does not exist', sqlstate=UNDEFINED_FILE)
    files: Files = {}
    for split, patterns in by_split(arguments.data_files or "*").items():
        files[split] = []
        for pattern in patterns:
            if urls.is_url(pattern):
                files[split].append(downloads.fetch(pattern))
            else:
                files[split] += [str(path) for path in allowed.expand(pattern, base)]
    return Source(explicit_layout(files, format_, title), allowed)


def _at_hub(arguments: Arguments, settings: HubSettings, allowed: Allowed, out: Out) -> Source:
    name = arguments.source
    if name in OPTIONS:
        raise RuntimeFault(
            f'source "{name}" needs kwargs.data_files',
            sqlstate=INVALID_PARAMETER_VALUE,
            hint=f'It is a format: name the files, as in {{"data_files": "rows.{name}"}}.',
        )
    if name.count("/") > 1 or name.startswith((".", "~")) or ("/" not in name and format_of(name) in OPTIONS):
        raise RuntimeFault(
            f'data set "{name}" does not exist',
            sqlstate=UNDEFINED_FILE,
            detail="No such file is below the directories of pgml.data_directories, and no repository has such a name.",
        )
    found = repository.find(settings, name, arguments.revision, out)
    layout = layout_of(found.names, found.read, arguments, found.name)
    return Source(layout, allowed, repository=found, token=settings.token or False)


def _refuse_urls(arguments: Arguments, downloads: urls.Downloads) -> None:
    """Names of files in a data set are no URLs."""
    if not arguments.data_files:
        return
    for patterns in by_split(arguments.data_files).values():
        for pattern in filter(urls.is_url, patterns):
            downloads.check(pattern)
            raise RuntimeFault(
                f'"{pattern}" is no file of data set "{arguments.source}"',
                sqlstate=INVALID_PARAMETER_VALUE,
                hint="To load files by their URLs, give their format as source, for example 'csv'.",
            )
