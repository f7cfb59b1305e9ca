"""Take the addresses of repositories apart, on the raw path: slashes that belong to a name are quoted in it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

ACTIONS = (
    "auth-check branch commit commits discussions paths-info preupload refs revision settings tag tree"
    " xet-read-token xet-write-token"
).split()


@dataclass(frozen=True)
class Address:
    """A repository, what is asked of it, and the rest of the path, in unquoted pieces."""

    kind: str
    name: str
    action: str
    rest: tuple[str, ...]

    @property
    def revision(self) -> str:
        return self.rest[0] if self.rest else "main"

    @property
    def path(self) -> str:
        return "/".join(self.rest[1:]).strip("/")


def of_api(raw_path: bytes) -> Address | None:
    """`/api/KIND/[NAMESPACE/]NAME[/ACTION[/…]]`"""
    kind, *words = _words(raw_path)[1:]
    for length in (2, 1):
        if len(words) > length and words[length] in ACTIONS:
            return Address(kind, "/".join(words[:length]), words[length], tuple(words[length + 1 :]))
    if len(words) in (1, 2) and all(words):
        return Address(kind, "/".join(words), "info", ())
    return None


def of_files(raw_path: bytes) -> Address | None:
    """`/[datasets/][NAMESPACE/]NAME/resolve/REVISION/PATH` or `….git/info/lfs/objects/batch`"""
    words = _words(raw_path)
    kind = "models"
    if words and words[0] == "datasets":
        kind, words = "datasets", words[1:]
    for length in (2, 1):
        name, rest = "/".join(words[:length]), tuple(words[length:])
        if len(rest) > 2 and rest[0] == "resolve":
            return Address(kind, name, "resolve", rest[1:])
        if rest == ("info", "lfs", "objects", "batch") and name.endswith(".git"):
            return Address(kind, name.removesuffix(".git"), "lfs", ())
    return None


def _words(raw_path: bytes) -> list[str]:
    return [unquote(word) for word in raw_path.decode("ascii").strip("/").split("/")]
