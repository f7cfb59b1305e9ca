"""What goes wrong on demand, and a record of what was answered. Both wrap the application, which knows of neither."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.hub.access import Tokens
from tests.hub.connections import hang_up, is_open
from tests.hub.refusals import CODES, Refusal

OWN = "/-/admin/"  # neither recorded nor disturbed
TICK = 0.05


@dataclass
class Fault:
    """What happens to requests that fit: `path` is a regular expression searched in path and query.

    The first `skip` that fit go unharmed, the next `times` do not; with None, all that follow. A status replaces the
    answer; a delay comes before it. `cut_response` and `cut_request` hang up after so many bytes of the answer's or the
    request's body; with 0 and a request without a body, before any answer.
    """

    path: str = ""
    method: str | None = None
    times: int | None = 1
    skip: int = 0
    status: int | None = None
    message: str = ""
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0
    bytes_per_second: float | None = None
    cut_response: int | None = None
    cut_request: int | None = None

    def fits(self, scope: Scope) -> bool:
        where = scope["path"] + "?" + scope["query_string"].decode("ascii")
        return self.method in (None, scope["method"]) and bool(re.search(self.path, where))

    def strikes(self) -> bool:
        """Count a request that fits."""
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None:
            if self.times <= 0:
                return False
            self.times -= 1
        return True

    def refusal(self) -> Refusal:
        """The answer in place of the right one; the Hub says in headers when to come back."""
        headers = dict(self.headers)
        if self.status == 429 and not headers:
            headers = {"RateLimit": '"api";r=0;t=1', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
        return Refusal(self.status or 500, self.message, self.code or CODES.get(self.status or 0), headers)


class Faults:
    """The first fault that strikes a request has it."""

    def __init__(self, app: ASGIApp, faults: list[Fault]) -> None:
        self.app = app
        self.faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(OWN):
            await self.app(scope, receive, send)
            return
        fault = next((fault for fault in self.faults if fault.fits(scope) and fault.strikes()), None)
        if fault is None:
            await self.app(scope, receive, send)
            return
        await asyncio.sleep(fault.delay)
        if fault.cut_request is not None:
            receive = _cut_request(fault.cut_request, scope, receive)
        if fault.cut_response is not None:
            send = _cut_response(fault.cut_response, scope, send)
        if fault.bytes_per_second is not None:
            send = _slow(fault.bytes_per_second, send)
        app = self.app if fault.status is None else fault.refusal().response()
        await app(scope, receive, send)


@dataclass
class Answered:
    """A request and how it ended: `status` is None if the connection broke before; `token` is a name, never a value."""

    number: int
    method: str
    path: str
    query: str
    token: str | None
    range: str | None
    status: int | None = None
    sent: int = 0
    complete: bool = False


class Records:
    """Every request, in the order of arrival."""

    def __init__(self, app: ASGIApp, answered: list[Answered], tokens: Tokens) -> None:
        self.app = app
        self.answered = answered
        self.tokens = tokens
        self.numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(OWN):
            await self.app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        record = Answered(
            number=next(self.numbers),
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("ascii"),
            token=self.tokens.name(headers.get(b"authorization")),
            range=headers.get(b"range"),
        )
        self.answered.append(record)

        async def noting(message: Message) -> None:
            if not is_open(scope["client"]):
                return  # nobody is there to get it
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", b"%d" % record.number)]
            await send(message)
            if message["type"] == "http.response.body":
                record.sent += len(message.get("body", b"")) if record.method != "HEAD" else 0
                record.complete = not message.get("more_body", False)

        with contextlib.suppress(ClientDisconnect):  # the record tells it
            await self.app(scope, receive, noting)


def _cut_request(limit: int, scope: Scope, receive: Receive) -> Receive:
    came = 0

    async def receiving() -> Message:
        nonlocal came
        message = await receive()
        came += len(message.get("body", b""))
        if came >= limit:
            await hang_up(scope["client"])
            return await receive()  # says so
        return message

    return receiving


def _cut_response(limit: int, scope: Scope, send: Send) -> Send:
    left = limit
    broken = False

    async def sending(message: Message) -> None:
        nonlocal left, broken
        if broken:
            return
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            if len(body) >= left:
                broken = True
                if left:
                    await send({**message, "body": body[:left], "more_body": True})
            left -= len(body)
        elif limit == 0:
            broken = True
        if broken:
            await hang_up(scope["client"])
        else:
            await send(message)

    return sending


def _slow(rate: float, send: Send) -> Send:
    step = max(int(rate * TICK), 1)

    async def sending(message: Message) -> None:
        body = message.get("body", b"") if message["type"] == "http.response.body" else b""
        if len(body) <= step:
            await send(message)
            await asyncio.sleep(len(body) / rate)
            return
        for start in range(0, len(body), step):
            piece = body[start : start + step]
            more = message.get("more_body", False) or start + step < len(body)
            await send({**message, "body": piece, "more_body": more})
            await asyncio.sleep(len(piece) / rate)

    return sending
