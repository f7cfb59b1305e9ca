"""What every handler gets: the request, who asks, and the repository that is meant."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse
from tests.hub.access import Token, Tokens, check_read, owns
from tests.hub.addresses import Address
from tests.hub.refusals import Refusal, no_repository, no_revision
from tests.hub.repositories import Commit, Repository
from tests.hub.store import Store


@dataclass
class State:
    """All that a running Hub knows. `tickets` are promised uploads: digest and size by the secret in the address."""

    store: Store
    tokens: Tokens = field(default_factory=Tokens)
    tickets: dict[str, tuple[str, int]] = field(default_factory=dict)


@dataclass
class Call:
    """A request about a repository."""

    request: Request
    state: State
    token: Token | None
    address: Address
    repository: Repository

    @property
    def store(self) -> Store:
        return self.state.store

    @property
    def endpoint(self) -> str:
        return endpoint(self.request)

    def commit(self) -> Commit:
        """What the revision in the address means now."""
        commit = self.repository.find(self.address.revision)
        if commit is None:
            raise no_revision(self.address.revision)
        return commit

    def flag(self, name: str) -> bool:
        return self.request.query_params.get(name, "").lower() in ("1", "true")


def call(request: Request, address: Address) -> Call:
    """Find who asks and what is meant, or refuse as the Hub does."""
    state = request.app.state.hub
    token = identify(request)
    repository = find(state.store, address.kind, address.name, token, request)
    return Call(request, state, token, address, repository)


def find(
    store: Store, kind: str, name: str, token: Token | None, request: Request | None = None, *, own: bool = False
) -> Repository:
    """A repository that the caller may see; with a request, the old name of a moved one leads on."""
    repository = store.get(kind, name)
    if repository is None:
        new = store.moved.get((kind, name))
        if new and request:
            raise _moved(request, name, new)
        raise no_repository(anonymous=token is None)
    check_read(repository, token)
    if own and not owns(repository, token):
        raise Refusal(403, f"Forbidden: {name} belongs to somebody else")
    return repository


def identify(request: Request) -> Token | None:
    token: Token | None = request.app.state.hub.tokens.identify(request.headers.get("Authorization"))
    return token


def endpoint(request: Request) -> str:
    return str(request.base_url).rstrip("/")


async def json_body(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except json.JSONDecodeError as error:
        raise Refusal(400, f"Invalid JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refusal(400, "Invalid JSON: expected an object")
    return body


def page(request: Request, items: list[Any], size: int) -> JSONResponse:
    """Some of a list, and in a header where it goes on."""
    start = int(request.query_params.get("cursor", 0))
    headers = {}
    if start + size < len(items):
        query = urlencode([pair for pair in request.query_params.multi_items() if pair[0] != "cursor"])
        path = request.scope["raw_path"].decode("ascii")  # still quoted
        headers["Link"] = f'<{endpoint(request)}{path}?{query}&cursor={start + size}>; rel="next"'
    return JSONResponse(items[start : start + size], headers=headers)


def _moved(request: Request, old: str, new: str) -> Refusal:
    path = request.scope["raw_path"].decode("ascii").replace(quote(old), quote(new), 1)
    query = f"?{request.url.query}" if request.url.query else ""
    return Refusal(307, f"Moved to {new}", headers={"Location": path + query})
