"""Frames: two lengths, a JSON header, a payload. Pure: knows streams of bytes, nothing of requests and models.

u32 header length, u32 payload length (little endian), JSON object, payload
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Callable
from typing import Any, Protocol

from pgml import __version__
from pgml.runtime.errors import PROTOCOL_VIOLATION, RuntimeFault

PROTOCOL = 1
"""Its version; Rust's is in extension/src/runtime/startup.rs."""
MAX_HEADER = 16 << 20
MAX_PAYLOAD = 1 << 30
LENGTHS = struct.Struct("<II")
REPLACEMENT = "\ufffd"


class Reader(Protocol):
    """A binary stream, buffered or not."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...


class Writer(Protocol):
    """A binary stream, buffered or not: `write` may take a part only."""

    def write(self, data: memoryview, /) -> int | None: ...

    def flush(self) -> None: ...


def hello() -> dict[str, Any]:
    """The first frame on every channel."""
    return {"hello": "pgml", "protocol": PROTOCOL, "version": __version__, "pid": os.getpid()}


def read_frame(stream: Reader) -> tuple[dict[str, Any], bytes] | None:
    """The next header and payload; None at the end of the stream between two frames."""
    lengths = _read_exactly(stream, LENGTHS.size, may_end=True)
    if not lengths:
        return None
    header_length, payload_length = LENGTHS.unpack(lengths)
    _check_lengths(header_length, payload_length)
    header = decode(_read_exactly(stream, header_length))
    payload = _read_exactly(stream, payload_length)
    if not isinstance(header, dict):
        raise RuntimeFault("frame header is not a JSON object", sqlstate=PROTOCOL_VIOLATION)
    return header, payload


def write_frame(stream: Writer, header: dict[str, Any], payload: bytes = b"") -> None:
    """Write one frame and flush it."""
    text = encode(header)
    _check_lengths(len(text), len(payload))
    _write_fully(stream, LENGTHS.pack(len(text), len(payload)) + text)
    if payload:
        _write_fully(stream, payload)
    stream.flush()


def encode(value: Any) -> bytes:
    """JSON that PostgreSQL's jsonb takes: NaN and Infinity become null, NUL and lone surrogates U+FFFD."""
    try:
        text = _dumps(value)
        if "\\u0000" not in text:
            return text.encode()
    except ValueError:  # NaN or Infinity; a lone surrogate raises UnicodeEncodeError, which is one too
        pass
    return _dumps(sanitise(value)).encode()


def decode(text: bytes) -> Any:
    """The value of a JSON text."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise RuntimeFault("frame holds invalid JSON", sqlstate=PROTOCOL_VIOLATION, detail=f"{error}.") from error


def sanitise(value: Any) -> Any:
    """The value with everything replaced that jsonb refuses."""
    if isinstance(value, dict):
        return {_clean_text(str(key)): sanitise(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [sanitise(item) for item in value]
    if isinstance(value, str):
        return _clean_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return sanitise(value.tolist())
    return value


def _clean_text(text: str) -> str:
    return text.replace("\0", REPLACEMENT).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_as_list)


def _as_list(value: Any) -> Any:
    # Scalars and arrays of NumPy and torch, without importing either.
    tolist: Callable[[], Any] | None = getattr(value, "tolist", None)
    if tolist is None:
        raise TypeError(f"{type(value).__name__} has no JSON form")
    return tolist()


def _check_lengths(header: int, payload: int) -> None:
    if header > MAX_HEADER or payload > MAX_PAYLOAD:
        raise RuntimeFault(
            "frame is too large",
            sqlstate=PROTOCOL_VIOLATION,
            detail=f"It has a header of {header} bytes and a payload of {payload} bytes;"
            f" the maximum is {MAX_HEADER} and {MAX_PAYLOAD}.",
        )


def _read_exactly(stream: Reader, size: int, may_end: bool = False) -> bytes:
    buffer = bytearray(size)
    view = memoryview(buffer)
    done = 0
    while done < size:
        count = stream.readinto(view[done:])
        if not count:
            if may_end and done == 0:
                return b""
            raise ConnectionError("stream ended within a frame")
        done += count
    return bytes(buffer)


def _write_fully(stream: Writer, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]
