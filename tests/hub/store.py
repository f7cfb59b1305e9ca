"""All repositories of a Hub on disk: contents by their digest, and hub.json for the rest. One process at a time."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
from pathlib import Path
from types import TracebackType

from tests.hub.blobs import SAMPLE, Blobs, gitattributes, is_large
from tests.hub.repositories import Commit, Entry, Repository, large, small

SYSTEM = "system"


class Store:
    """Open it with `with`; what changes a repository has to end with `save`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.file = directory / "hub.json"
        self.lock = (directory / "lock").open("w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(f"another process uses {directory}; stop it, or choose another directory") from error
        self.blobs = Blobs(directory / "objects")
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.moved: dict[tuple[str, str], str] = {}
        if self.file.exists():
            self._load()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lock.close()

    def get(self, kind: str, name: str) -> Repository | None:
        return self.repositories.get((kind, name))

    def create(
        self, kind: str, name: str, *, private: bool = False, user: str = SYSTEM, date: str | None = None
    ) -> Repository:
        """A new repository with what the Hub puts into one."""
        date = date or now()
        repository = Repository(kind, name, private, date)
        content = gitattributes()
        self.blobs.put(content)
        first = repository.commit(None, {".gitattributes": small(content)}, "initial commit", user, date)
        repository.branches["main"] = first.oid
        self.repositories[kind, name] = repository
        self.moved.pop((kind, name), None)
        self.save()
        return repository

    def delete(self, repository: Repository) -> None:
        """Forget a repository; its contents stay, others may have the same."""
        del self.repositories[repository.kind, repository.name]
        self.save()

    def move(self, repository: Repository, name: str) -> None:
        """Give a repository another name; the old one leads to it."""
        del self.repositories[repository.kind, repository.name]
        self.moved[repository.kind, repository.name] = name
        self.moved.pop((repository.kind, name), None)
        repository.name = name
        self.repositories[repository.kind, name] = repository
        self.save()

    def entry(self, path: str, content: bytes) -> Entry:
        """Keep a content, and say how a commit names it."""
        sha256 = self.blobs.put(content)
        return large(sha256, len(content)) if is_large(path, len(content), content[:SAMPLE]) else small(content)

    def add_folder(
        self, repository: Repository, folder: Path, title: str = "Add files", date: str | None = None
    ) -> Commit:
        """Commit all files of a folder to the main branch."""
        head = repository.commits[repository.branches["main"]]
        files = dict(head.files)
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                name = path.relative_to(folder).as_posix()
                files[name] = self.entry(name, path.read_bytes())
        commit = repository.commit(head, files, title, SYSTEM, date or now())
        repository.branches["main"] = commit.oid
        self.save()
        return commit

    def save(self) -> None:
        """Write hub.json at once or not at all."""
        data = {
            "repositories": [repository.as_json() for repository in self.repositories.values()],
            "moved": [[kind, old, new] for (kind, old), new in self.moved.items()],
        }
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(data))
        new.rename(self.file)

    def _load(self) -> None:
        data = json.loads(self.file.read_text())
        for repository in map(Repository.from_json, data["repositories"]):
            self.repositories[repository.kind, repository.name] = repository
        self.moved = {(kind, old): new for kind, old, new in data["moved"]}


def now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
