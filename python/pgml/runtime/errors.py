"""Errors as the protocol carries them: an SQLSTATE, a message in PostgreSQL's style, a detail and a hint.

Exception
  └─ RuntimeFault        anything that is answered with an error of its own
       └─ Cancelled      the client went away; nobody reads the answer

Whatever else is raised is turned into a frame by `as_frame`. Knows nothing of sockets and models.
"""

from __future__ import annotations

import errno
from typing import Any

from pgml.runtime.redaction import redact

INVALID_PARAMETER_VALUE = "22023"
INSUFFICIENT_PRIVILEGE = "42501"
FEATURE_NOT_SUPPORTED = "0A000"
UNDEFINED_FILE = "58P01"
UNDEFINED_OBJECT = "42704"
UNDEFINED_COLUMN = "42703"
DUPLICATE_COLUMN = "42701"
NAME_TOO_LONG = "42622"
TOO_MANY_COLUMNS = "54011"
BAD_FILE_FORMAT = "22P04"
CONNECTION_FAILURE = "08006"
OBJECT_NOT_IN_PREREQUISITE_STATE = "55000"
DISK_FULL = "53100"
OUT_OF_MEMORY = "53200"
QUERY_CANCELED = "57014"
IO_ERROR = "58030"
DATA_CORRUPTED = "XX001"
PROTOCOL_VIOLATION = "08P01"
INTERNAL_ERROR = "XX000"


class RuntimeFault(Exception):
    """A request that fails for a known reason. The message begins in lower case and ends without a full stop."""

    def __init__(
        self, message: str, *, sqlstate: str = INTERNAL_ERROR, detail: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.sqlstate = sqlstate
        self.detail = detail
        self.hint = hint

    def as_frame(self) -> dict[str, Any]:
        """The header of the error frame."""
        return {
            "error": {
                "sqlstate": self.sqlstate,
                "message": redact(self.message),
                "detail": redact(self.detail) if self.detail else None,
                "hint": redact(self.hint) if self.hint else None,
            }
        }


class Cancelled(RuntimeFault):
    """The client closed its connection."""

    def __init__(self) -> None:
        super().__init__("canceling request because the client went away", sqlstate=QUERY_CANCELED)


def fault_of(error: dict[str, Any]) -> RuntimeFault:
    """The fault that the other side sent: `error` is what an error frame holds."""
    return RuntimeFault(
        str(error.get("message")),
        sqlstate=str(error.get("sqlstate") or INTERNAL_ERROR),
        detail=error.get("detail"),
        hint=error.get("hint"),
    )


def last_line(error: BaseException) -> str:
    """What Python would print last of a traceback, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def as_fault(error: BaseException, doing: str) -> RuntimeFault:
    """The fault that stands for any exception; `doing` completes "could not …"."""
    if isinstance(error, RuntimeFault):
        return error
    message = f"could not {doing}"
    detail = last_line(error)
    if _is_out_of_memory(error):
        hint = "Use a smaller model or shorter inputs, or give the runtime more memory."
        return RuntimeFault(f"{message}: out of memory", sqlstate=OUT_OF_MEMORY, detail=detail, hint=hint)
    return RuntimeFault(message, sqlstate=_sqlstate(error), detail=detail)


def _is_out_of_memory(error: BaseException) -> bool:
    # torch raises a plain RuntimeError on the CPU and OutOfMemoryError, a subclass of it, on a GPU.
    text = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and (
            type(error).__name__ == "OutOfMemoryError" or "not enough memory" in text or "can't allocate memory" in text
        )
    )


def _sqlstate(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return UNDEFINED_FILE
    if isinstance(error, PermissionError):
        return INSUFFICIENT_PRIVILEGE
    if isinstance(error, OSError):
        return DISK_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else IO_ERROR
    if isinstance(error, KeyboardInterrupt):
        return QUERY_CANCELED
    return INTERNAL_ERROR
