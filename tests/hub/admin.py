"""What a test tells a running Hub and asks of it, below /-/admin/, with the secret from control.json."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.hub.access import Token
from tests.hub.faults import Answered, Fault
from tests.hub.refusals import Refusal

HEADER = "X-Hub-Secret"


def routes(secret: str, faults: list[Fault], answered: list[Answered]) -> list[Route]:
    """The administration's addresses."""

    async def list_faults(request: Request) -> Response:
        return JSONResponse([asdict(fault) for fault in faults])

    async def add_fault(request: Request) -> Response:
        faults.append(Fault(**await request.json()))
        return JSONResponse({}, 201)

    async def clear_faults(request: Request) -> Response:
        faults.clear()
        return Response(status_code=204)

    async def list_requests(request: Request) -> Response:
        return JSONResponse([asdict(record) for record in answered])

    async def forget_requests(request: Request) -> Response:
        answered.clear()
        return Response(status_code=204)

    async def add_token(request: Request) -> Response:
        body = await request.json()
        value = body.pop("value")
        body["organisations"] = tuple(body.get("organisations", ()))
        request.app.state.hub.tokens.add(value, Token(**body))
        return JSONResponse({}, 201)

    async def remove_token(request: Request) -> Response:
        request.app.state.hub.tokens.remove((await request.json())["value"])
        return Response(status_code=204)

    handlers = {
        "faults": {"GET": list_faults, "POST": add_fault, "DELETE": clear_faults},
        "requests": {"GET": list_requests, "DELETE": forget_requests},
        "tokens": {"POST": add_token, "DELETE": remove_token},
    }
    return [
        Route(f"/-/admin/{name}", _guarded(secret, handler), methods=[method])
        for name, methods in handlers.items()
        for method, handler in methods.items()
    ]


def _guarded(
    secret: str, handler: Callable[[Request], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    async def guarded(request: Request) -> Response:
        if not hmac.compare_digest(request.headers.get(HEADER, "").encode(), secret.encode()):
            raise Refusal(403, "The administration needs its secret")
        return await handler(request)

    return guarded
