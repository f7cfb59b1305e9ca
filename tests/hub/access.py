"""Who asks, and what they may. Values of tokens are kept as digests, in memory alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tests.hub.refusals import BAD_CREDENTIALS, Refusal, no_repository
from tests.hub.repositories import Repository

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Token:
    """`name` is how it is called in records; it may write in the namespaces of its user and organisations."""

    name: str
    user: str
    role: str = "write"
    organisations: tuple[str, ...] = ()

    @property
    def namespaces(self) -> tuple[str, ...]:
        return (self.user, *self.organisations)


# What a Hub knows from the start. The last three are words in scripts that users copied from the predecessor's guide.
TOKENS = {
    "hf_writer": Token("writer", "tester", organisations=("testers",)),
    "hf_reader": Token("reader", "tester", role="read", organisations=("testers",)),
    "hf_stranger": Token("stranger", "stranger"),
    "YOUR_HUB_TOKEN": Token("guide", "santiadavani"),
    "HF_TOKEN": Token("guide", "santiadavani"),
    "TOKEN": Token("guide", "santiadavani"),
}


class Tokens:
    """The tokens that a Hub takes."""

    def __init__(self) -> None:
        self.by_digest: dict[str, Token] = {}
        for value, token in TOKENS.items():
            self.add(value, token)

    def add(self, value: str, token: Token) -> None:
        self.by_digest[_digest(value)] = token

    def remove(self, value: str) -> None:
        self.by_digest.pop(_digest(value), None)

    def identify(self, header: str | None) -> Token | None:
        """The token of a request, or none for an anonymous one."""
        if header is None:
            return None
        token = self.by_digest.get(_digest(header.removeprefix("Bearer ").strip()))
        if token is None:
            raise Refusal(401, BAD_CREDENTIALS)
        return token

    def name(self, header: str | None) -> str | None:
        """For the records."""
        try:
            token = self.identify(header)
        except Refusal:
            return UNKNOWN
        return token.name if token else None


def check_read(repository: Repository, token: Token | None) -> None:
    if repository.private and not owns(repository, token):
        raise no_repository(anonymous=token is None)


def check_files(repository: Repository, token: Token | None) -> None:
    """Gated repositories show themselves, but not their files."""
    if not repository.gated or owns(repository, token):
        return
    what = f"Access to {repository.kind.removesuffix('s')} {repository.name} is restricted"
    if token is None:
        raise Refusal(401, f"{what}. You must have access to it and be authenticated to access it.", "GatedRepo")
    raise Refusal(403, f"{what} and you are not in the authorized list.", "GatedRepo")


def check_write(repository: Repository, token: Token | None, *, pull_request: bool = False) -> None:
    check_read(repository, token)
    writer(token)
    if not owns(repository, token) and not pull_request:
        raise Refusal(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")


def check_namespace(namespace: str, token: Token | None, kind: str) -> Token:
    """The token, if it may make repositories there."""
    token = writer(token)
    if namespace not in token.namespaces:
        what = kind.removesuffix("s")
        raise Refusal(403, f'You don\'t have the rights to create a {what} under the namespace "{namespace}"')
    return token


def writer(token: Token | None) -> Token:
    if token is None:
        raise Refusal(401, "Invalid username or password.")
    if token.role != "write":
        raise Refusal(403, "Forbidden: you must use a write token to upload to a repository.")
    return token


def owns(repository: Repository, token: Token | None) -> bool:
    return token is not None and repository.owner in token.namespaces


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode(errors="surrogateescape")).hexdigest()
