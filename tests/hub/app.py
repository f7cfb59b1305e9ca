"""The application: which handler answers which address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from tests.hub import addresses, admin, changes, files, looks, uploads
from tests.hub.calls import Call, State, call
from tests.hub.faults import Answered, Fault, Faults, Records
from tests.hub.refusals import Refusal, answer
from tests.hub.repositories import KINDS
from tests.hub.store import Store

# The method, the action, and how many words follow it at least.
HANDLERS: dict[tuple[str, str], tuple[int, Callable[[Call], Awaitable[Response]]]] = {
    ("GET", "info"): (0, looks.info),
    ("GET", "revision"): (1, looks.info),
    ("GET", "tree"): (1, looks.tree),
    ("POST", "paths-info"): (1, looks.paths_info),
    ("GET", "refs"): (0, looks.refs),
    ("GET", "commits"): (1, looks.commits),
    ("GET", "discussions"): (0, looks.discussions),
    ("GET", "auth-check"): (0, looks.auth_check),
    ("PUT", "settings"): (0, changes.settings),
    ("POST", "branch"): (1, changes.create_branch),
    ("DELETE", "branch"): (1, changes.delete_branch),
    ("POST", "tag"): (1, changes.create_tag),
    ("DELETE", "tag"): (1, changes.delete_tag),
    ("POST", "preupload"): (1, uploads.preupload),
    ("POST", "commit"): (1, uploads.commit),
    ("POST", "lfs"): (0, uploads.batch),
    ("GET", "resolve"): (2, files.resolve),
    ("HEAD", "resolve"): (2, files.resolve),
}
ALL = ["GET", "HEAD", "POST", "PUT", "DELETE"]


async def of_repository(request: Request) -> Response:
    """Everything about one repository."""
    raw_path: bytes = request.scope["raw_path"]
    in_api = request.url.path.startswith("/api/")
    address = addresses.of_api(raw_path) if in_api else addresses.of_files(raw_path)
    if address is None or address.kind not in KINDS:
        raise HTTPException(404)
    words, handler = HANDLERS.get((request.method, address.action), (0, None))
    if handler is None or len(address.rest) < words:
        raise HTTPException(404)
    return await handler(call(request, address))


async def telemetry(request: Request) -> Response:
    """Take what clients tell about themselves, and forget it."""
    return JSONResponse({})


def make_app(store: Store, secret: str) -> ASGIApp:
    """A Hub over a store."""
    state = State(store)
    faults: list[Fault] = []
    answered: list[Answered] = []
    app = Starlette(
        routes=[
            *admin.routes(secret, faults, answered),
            Route("/-/lfs/{ticket}", uploads.upload, methods=["PUT"]),
            Route("/-/lfs/{ticket}/verify", uploads.verify, methods=["POST"]),
            Route("/api/whoami-v2", changes.whoami),
            Route("/api/repos/create", changes.create, methods=["POST"]),
            Route("/api/repos/delete", changes.delete, methods=["DELETE"]),
            Route("/api/repos/move", changes.move, methods=["POST"]),
            Route("/api/validate-yaml", changes.validate_yaml, methods=["POST"]),
            Route("/api/telemetry/{rest:path}", telemetry),
            *(Route(f"/api/{kind}", looks.listing(kind)) for kind in KINDS),
            Route("/{rest:path}", of_repository, methods=ALL),
        ],
        exception_handlers={Refusal: answer},
    )
    app.state.hub = state
    return Records(Faults(app, faults), answered, state.tokens)
