"""Repositories, their branches, tags and commits, as data. Knows nothing of HTTP, users or the disk."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.hub.blobs import git_oid, lfs_pointer

KINDS = ("models", "datasets")
NAME = re.compile(r"(?:[\w.-]{1,96}/)?[\w-](?:[\w.-]{0,94}[\w-])?", re.ASCII)


@dataclass(frozen=True)
class Entry:
    """A file of a commit. `oid` is git's name of what git keeps: of the pointer for a file in LFS."""

    size: int
    sha256: str
    oid: str
    lfs: bool

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid

    @property
    def pointer_size(self) -> int:
        return len(lfs_pointer(self.sha256, self.size))


def small(content: bytes) -> Entry:
    return Entry(len(content), hashlib.sha256(content).hexdigest(), git_oid(content), lfs=False)


def large(sha256: str, size: int) -> Entry:
    return Entry(size, sha256, git_oid(lfs_pointer(sha256, size)), lfs=True)


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    title: str
    message: str
    date: str
    user: str
    files: dict[str, Entry]

    def below(self, folder: str) -> dict[str, Entry]:
        """The files in a folder, at any depth; all for the empty name."""
        prefix = folder.rstrip("/") + "/" if folder else ""
        return {path: entry for path, entry in self.files.items() if path.startswith(prefix)}

    def folder_oid(self, folder: str) -> str:
        listing = [(path, entry.oid) for path, entry in sorted(self.below(folder).items())]
        return hashlib.sha1(json.dumps(listing).encode()).hexdigest()


@dataclass
class Repository:
    """`kind` is the word in the addresses: models or datasets. Names of pull requests are refs/pr/1 and so on."""

    kind: str
    name: str
    private: bool
    created: str
    gated: Any = False
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    @property
    def owner(self) -> str | None:
        """The namespace; none for the old names without one."""
        owner, slash, _ = self.name.partition("/")
        return owner if slash else None

    @property
    def path(self) -> str:
        """Where the repository lies below the Hub's address."""
        return self.name if self.kind == "models" else f"{self.kind}/{self.name}"

    def find(self, revision: str) -> Commit | None:
        """The commit of a branch, tag, pull request or 40 digits."""
        for names in (self.branches, self.tags, self.pulls):
            for name in (revision, revision.removeprefix("refs/heads/"), revision.removeprefix("refs/tags/")):
                if name in names:
                    return self.commits[names[name]]
        return self.commits.get(revision)

    def history(self, commit: Commit) -> Iterator[Commit]:
        """A commit and those before it, newest first."""
        step: Commit | None = commit
        while step is not None:
            yield step
            step = self.commits[step.parent] if step.parent else None

    def last_change(self, commit: Commit, path: str) -> Commit:
        """The commit that gave a path what it holds."""
        last = commit
        for step in self.history(commit):
            if step.files.get(path) != commit.files.get(path):
                break
            last = step
        return last

    def commit(
        self, parent: Commit | None, files: dict[str, Entry], title: str, user: str, date: str, message: str = ""
    ) -> Commit:
        """A new commit, which no branch names yet."""
        oids = {path: entry.oid for path, entry in sorted(files.items())}
        before = parent.oid if parent else None
        facts = json.dumps([self.kind, self.name, before, title, message, user, date, oids])
        oid = hashlib.sha1(facts.encode()).hexdigest()
        commit = Commit(oid, before, title, message, date, user, dict(sorted(files.items())))
        self.commits[oid] = commit
        return commit

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Repository:
        commits = {}
        for oid, commit in data["commits"].items():
            files = {path: Entry(**entry) for path, entry in commit["files"].items()}
            commits[oid] = Commit(**{**commit, "files": files})
        return cls(**{**data, "commits": commits})


def is_name(name: str) -> bool:
    """Whether the Hub takes a name for a repository."""
    return bool(NAME.fullmatch(name)) and "--" not in name and ".." not in name and not name.endswith(".git")
