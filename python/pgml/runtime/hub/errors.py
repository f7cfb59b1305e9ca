"""Turn what the libraries of the Hub raise into faults that say what to do. Asks nobody."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from http import HTTPStatus

import httpx2
from huggingface_hub import errors as hub

from pgml.runtime.errors import (
    CONNECTION_FAILURE,
    DISK_FULL,
    FEATURE_NOT_SUPPORTED,
    INSUFFICIENT_PRIVILEGE,
    INVALID_PARAMETER_VALUE,
    UNDEFINED_FILE,
    UNDEFINED_OBJECT,
    RuntimeFault,
    as_fault,
    last_line,
)

HOW_TO_AUTHENTICATE = (
    "Give a token that may: SELECT pgml.set_secret('hub_token', '…') keeps one for your role,"
    " and an administrator can set pgml.hub_token."
)
LATER = "Try again later."

Reason = tuple[str, str, str | None]
"""A message, an SQLSTATE and a hint."""


def as_hub_fault(error: BaseException, doing: str, repo: str | None = None) -> RuntimeFault:
    """The fault that stands for an exception; `doing` completes "could not …", `repo` is what was asked for."""
    for each in _causes(error):
        if isinstance(each, RuntimeFault):
            return each
        if (fault := _fault(each, repo)) is not None:
            return fault
    return as_fault(error, doing)


def is_out_of_reach(error: BaseException) -> bool:
    """Whether the Hub could not be asked, or did not know what to say, and may do so at another time."""
    if isinstance(error, hub.HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code == HTTPStatus.TOO_MANY_REQUESTS
    return isinstance(error, (httpx2.TransportError, hub.OfflineModeIsEnabled))


def said(error: hub.HfHubHTTPError) -> str:
    """What the Hub itself said, as a sentence."""
    message = " ".join((error.server_message or error.response.reason_phrase or "nothing").split())
    return f"The Hub answered {error.response.status_code}: {message.rstrip('.')}."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The chain of causes. That something is not in the cache says less than why it was looked for there."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__
    yield from sorted(chain, key=lambda each: isinstance(each, hub.LocalEntryNotFoundError))


def _fault(error: BaseException, repo: str | None) -> RuntimeFault | None:
    if isinstance(error, hub.HfHubHTTPError):
        return _answered(error, getattr(error, "repo_id", None) or repo)
    if isinstance(error, (hub.OfflineModeIsEnabled, hub.LocalEntryNotFoundError)):
        return not_cached(repo)
    if isinstance(error, (hub.HFValidationError, hub.HfUriError)):
        return RuntimeFault(
            f'"{repo}" is not a name of a Hub repository' if repo else "name of a Hub repository is not valid",
            sqlstate=INVALID_PARAMETER_VALUE,
            detail=f"{last_line(error).partition(': ')[2].rstrip('.')}.",
            hint="Names are of the form owner/name.",
        )
    if isinstance(error, httpx2.TransportError):
        return _not_reached(error)
    if isinstance(error, OSError):
        return _failed_locally(error)
    return None


def not_cached(repo: str | None) -> RuntimeFault:
    """The Hub is not asked, and the files are not there."""
    return RuntimeFault(
        f"files of Hub repository{_quoted(repo)} are not in the cache, and the Hub is not asked",
        sqlstate=UNDEFINED_OBJECT,
        detail="The server works offline: pgml.hub_offline is on.",
        hint="Ask an administrator to set pgml.hub_offline = off, or to bring the files into pgml.hub_cache.",
    )


def _answered(error: hub.HfHubHTTPError, repo: str | None) -> RuntimeFault:
    message, sqlstate, hint = _about_repository(error, _quoted(repo)) or _by_status(error, _quoted(repo))
    return RuntimeFault(message, sqlstate=sqlstate, detail=said(error), hint=hint)


def _about_repository(error: hub.HfHubHTTPError, name: str) -> Reason | None:
    match error:
        case hub.GatedRepoError():
            hint = f"Ask for access on its page. {HOW_TO_AUTHENTICATE}"
            return f"Hub repository{name} is gated", INSUFFICIENT_PRIVILEGE, hint
        case hub.RepositoryNotFoundError():
            hint = f"Check the name. If the repository is private: {HOW_TO_AUTHENTICATE}"
            return f"Hub repository{name} does not exist, or may not be read", UNDEFINED_OBJECT, hint
        case hub.RevisionNotFoundError():
            hint = "Name a branch, a tag or a commit of it, or leave the revision out."
            return f"Hub repository{name} does not have this revision", UNDEFINED_OBJECT, hint
        case hub.EntryNotFoundError():
            return f"Hub repository{name} lacks a file", UNDEFINED_FILE, None
        case hub.DisabledRepoError():
            return f"Hub repository{name} is disabled", INSUFFICIENT_PRIVILEGE, None
    return None


def _by_status(error: hub.HfHubHTTPError, name: str) -> Reason:
    match error.response.status_code:
        case HTTPStatus.UNAUTHORIZED:
            hint = f"It may have expired or been revoked. {HOW_TO_AUTHENTICATE}"
            return "Hub does not accept the access token", INSUFFICIENT_PRIVILEGE, hint
        case HTTPStatus.FORBIDDEN:
            return f"Hub refuses access{name and f' to{name}'}", INSUFFICIENT_PRIVILEGE, HOW_TO_AUTHENTICATE
        case HTTPStatus.TOO_MANY_REQUESTS:
            seconds = error.response.headers.get("Retry-After")
            hint = f"Try again in {seconds} seconds." if seconds else LATER
            return "Hub has been asked too often", CONNECTION_FAILURE, f"{hint} Requests with a token are given more."
        case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return "Hub is out of order", CONNECTION_FAILURE, LATER
    return f"Hub refuses the request{name and f' about{name}'}", INVALID_PARAMETER_VALUE, None


def _not_reached(error: httpx2.TransportError) -> RuntimeFault:
    detail = last_line(error)
    with contextlib.suppress(RuntimeError):  # it may know no request
        detail += f" ({error.request.url.scheme}://{error.request.url.netloc.decode()})"
    hint = (
        "Check the network of the server, pgml.hub_endpoint and HTTPS_PROXY,"
        " or set pgml.hub_offline = on to use what was downloaded before."
    )
    if isinstance(error, httpx2.UnsupportedProtocol):
        message, sqlstate = "cannot speak to the Hub at this address", FEATURE_NOT_SUPPORTED
    elif isinstance(error, httpx2.TimeoutException):
        message, sqlstate, hint = "Hub did not answer in time", CONNECTION_FAILURE, f"{LATER} {hint}"
    elif isinstance(error, (httpx2.ConnectError, httpx2.ProxyError)):
        message, sqlstate = "could not connect to the Hub", CONNECTION_FAILURE
    else:
        message, sqlstate, hint = "connection to the Hub broke", CONNECTION_FAILURE, LATER
    return RuntimeFault(message, sqlstate=sqlstate, detail=detail, hint=hint)


def _failed_locally(error: OSError) -> RuntimeFault | None:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RuntimeFault(
            "no space is left for files of the Hub",
            sqlstate=DISK_FULL,
            detail=last_line(error),
            hint="Free some where pgml.hub_cache is, or have it elsewhere.",
        )
    if "Consistency check failed" in str(error) or isinstance(error, hub.FileMetadataError):
        return RuntimeFault(
            "download from the Hub is broken", sqlstate=CONNECTION_FAILURE, detail=last_line(error), hint=LATER
        )
    return None


def _quoted(repo: str | None) -> str:
    return f' "{repo}"' if repo else ""
