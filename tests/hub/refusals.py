"""Answers that say no, the way the Hub says it: clients read the headers, people the body."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

BAD_CREDENTIALS = "Invalid credentials in Authorization header"
DEFAULTS = {
    400: "Bad request",
    401: BAD_CREDENTIALS,
    403: "Forbidden: you are not allowed to do that",
    404: "Repository not found",
    412: "A commit has happened since. Please refresh and try again.",
    429: "We had to rate limit you. Please retry later.",
    500: "Internal Error - We're working hard to fix this as soon as possible!",
}
# A 404 without a code means a wrong address to the clients, not a missing repository.
CODES = {404: "RepoNotFound"}


class Refusal(Exception):
    """An answer other than success. `code` is what the clients choose their exception by."""

    def __init__(
        self,
        status: int,
        message: str = "",
        code: str | None = None,
        headers: dict[str, str] | None = None,
        **body: str,
    ) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message or DEFAULTS.get(status, "")
        self.code = code
        self.headers = headers or {}
        self.body = body

    def response(self) -> Response:
        message = " ".join(self.message.split()).encode("ascii", "backslashreplace").decode()
        headers = {"X-Error-Message": message, **self.headers}
        if self.code:
            headers["X-Error-Code"] = self.code
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="Authentication required", charset="UTF-8"'
        return JSONResponse({"error": self.message, **self.body}, self.status, headers)


async def answer(request: Request, refusal: Refusal) -> Response:
    """Starlette's handler of the exception."""
    return refusal.response()


def no_repository(anonymous: bool) -> Refusal:
    """Private and missing look alike."""
    if anonymous:
        return Refusal(401, "Invalid username or password.", "RepoNotFound")
    return Refusal(404, "Repository not found", "RepoNotFound")


def no_revision(revision: str) -> Refusal:
    return Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def no_entry(path: str, commit: str) -> Refusal:
    """The commit has to be named: clients remember per commit what is missing."""
    return Refusal(404, "Entry not found", "EntryNotFound", {"X-Repo-Commit": commit}, path=path)
