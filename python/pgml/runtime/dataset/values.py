"""Values of Arrow's scalar types as texts that PostgreSQL reads. Knows nothing of COPY and of columns."""

from __future__ import annotations

import binascii
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pgml.runtime.dataset.copy_text import TEXT, content, offsets_of
from pgml.runtime.dataset.findings import Findings, Unfit
from pgml.runtime.frames import REPLACEMENT

MICROSECONDS = pa.timestamp("us")
DAY = 86_400_000_000
# PostgreSQL's limits, from 1970 on: 4713 BC, and the year 294276 of timestamps or 5874897 of dates.
FIRST_DAY, LAST_DAY = -2_440_588, 2_145_042_905
FIRST_MICROSECOND = FIRST_DAY * DAY
# Between these years Arrow writes dates as PostgreSQL reads them.
YEAR_1, YEAR_10000 = -719_162, 2_932_897
UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}

Write = Callable[[pa.Array, Findings], pa.Array]


def as_text(array: pa.Array, findings: Findings) -> pa.Array:  # noqa: ARG001 all have one signature
    """Numbers and booleans as Arrow writes them."""
    if pa.types.is_float16(array.type):
        array = array.cast(pa.float32())
    return array.cast(TEXT)


def as_number(array: pa.Array, findings: Findings) -> pa.Array:  # noqa: ARG001 all have one signature
    """Numbers and booleans as they are."""
    return array


def texts(array: pa.Array, findings: Findings) -> pa.Array:
    """Texts without what PostgreSQL refuses."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    array = array.cast(TEXT)
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        array = _decoded(array, findings)
    if b"\0" in content(array):
        findings.replaced += pc.sum(pc.match_substring(array, "\0")).as_py()
        array = pc.replace_substring(array, "\0", REPLACEMENT)
    return array


def _decoded(array: pa.Array, findings: Findings) -> pa.Array:
    values = array.cast(pa.large_binary()).to_pylist()
    decoded = [None if value is None else value.decode(errors="replace") for value in values]
    same = [text is None or text.encode() == value for text, value in zip(decoded, values, strict=True)]
    findings.replaced += same.count(False)
    return pa.array(decoded, TEXT)


def bytes_as_hex(array: pa.Array, findings: Findings) -> pa.Array:  # noqa: ARG001 all have one signature
    """Bytes as the hex format of bytea."""
    return pc.binary_join_element_wise(pa.scalar("\\x", TEXT), _digits(array), pa.scalar("", TEXT))


def uuids(array: pa.Array, findings: Findings) -> pa.Array:  # noqa: ARG001 all have one signature
    """The bytes of UUIDs as their digits, which PostgreSQL takes without hyphens."""
    return _digits(array)


def _digits(array: pa.Array) -> pa.Array:
    array = array.cast(pa.large_binary())
    offsets = offsets_of(array)
    lengths = pa.py_buffer(np.ascontiguousarray((offsets - offsets[0]) * 2))
    digits = pa.py_buffer(binascii.hexlify(content(array)))
    nulls = array.is_valid().cast(pa.uint8()).to_numpy() if array.null_count else None
    bitmap = None if nulls is None else pa.py_buffer(np.packbits(nulls, bitorder="little"))
    return pa.Array.from_buffers(TEXT, len(array), [bitmap, lengths, digits])


def timestamps(array: pa.Array, findings: Findings) -> pa.Array:
    """Moments with their offset from Greenwich, or clock times without one."""
    offset = "" if array.type.tz is None else "+00"
    values = _microseconds(array, findings)
    _refuse(values, FIRST_MICROSECOND, None, "is before 4713 BC")
    if _within(values, YEAR_1 * DAY, YEAR_10000 * DAY):
        written = values.cast(MICROSECONDS).cast(TEXT)
        return pc.binary_join_element_wise(written, pa.scalar(offset, TEXT), pa.scalar("", TEXT)) if offset else written
    return _far_dates(values, "datetime64[us]", offset)


def dates(array: pa.Array, findings: Findings) -> pa.Array:  # noqa: ARG001 all have one signature
    """Days."""
    values = array.cast(pa.date32(), safe=False).cast(pa.int32())
    _refuse(values, FIRST_DAY, LAST_DAY, "is before 4713 BC or after 5874897")
    if _within(values, YEAR_1, YEAR_10000):
        return values.cast(pa.date32()).cast(TEXT)
    return _far_dates(values, "datetime64[D]", "")


def times(array: pa.Array, findings: Findings) -> pa.Array:
    """Times of day."""
    exact = pa.time64("us")
    try:
        return array.cast(exact).cast(TEXT)
    except pa.ArrowInvalid:
        findings.cut = True
        return array.cast(exact, safe=False).cast(TEXT)


def durations(array: pa.Array, findings: Findings) -> pa.Array:
    """Spans as hours:minutes:seconds."""
    values = _microseconds(array, findings)
    size = pc.abs(values)
    seconds = pc.divide(size, 1_000_000)
    parts = (pc.divide(seconds, 3600), pc.divide(_rest(seconds, 3600), 60), _rest(seconds, 60), _rest(size, 1_000_000))
    hours, minutes, rest, fraction = (part.cast(TEXT) for part in parts)
    clock = pc.binary_join_element_wise(hours, minutes, rest, pa.scalar(":", TEXT))
    sign = pc.if_else(pc.less(values, 0), pa.scalar("-", TEXT), pa.scalar("", TEXT))
    fraction = pc.utf8_lpad(fraction, 6, "0")
    return pc.binary_join_element_wise(sign, clock, pa.scalar(".", TEXT), fraction, pa.scalar("", TEXT))


def _rest(values: pa.Array, divisor: int) -> pa.Array:
    return pc.subtract(values, pc.multiply(pc.divide(values, divisor), divisor))


def _microseconds(array: pa.Array, findings: Findings) -> pa.Array:
    """Moments or spans of any unit, as numbers."""
    unit = array.type.unit
    values = array.cast(pa.int64())
    if unit == "ns":
        short = pc.divide(values, 1000)
        if pc.any(pc.not_equal(pc.multiply(short, 1000), values)).as_py():
            findings.cut = True
        return short
    factor = UNITS[unit]
    limit = (2**63 - 1) // factor
    _refuse(values, -limit, limit, "is after the year 294246")
    return pc.multiply(values, factor)


def _refuse(values: pa.Array, first: int, last: int | None, reason: str) -> None:
    if _within(values, first, None if last is None else last + 1):
        return
    for index, value in enumerate(values.to_pylist()):
        if value is not None and (value < first or (last is not None and value > last)):
            raise Unfit(index, reason)


def _within(values: pa.Array, first: int, end: int | None) -> bool:
    least, most = pc.min_max(values).as_py().values()
    return least is None or (least >= first and (end is None or most < end))


def _far_dates(values: pa.Array, kind: str, suffix: str) -> pa.Array:
    written = np.datetime_as_string(values.fill_null(0).to_numpy(zero_copy_only=False).astype(kind))
    known = values.is_valid().to_pylist()
    return pa.array([_far(text, suffix) if known else None for text, known in zip(written, known, strict=True)], TEXT)


def _far(text: str, suffix: str) -> str:
    """A date of NumPy, whose year 0 is PostgreSQL's 1 BC.

    >>> _far("10001-02-04T00:00:00", "+00"), _far("0000-02-04", ""), _far("-0043-03-15", "")
    ('10001-02-04 00:00:00+00', '0001-02-04 BC', '0044-03-15 BC')
    """
    text = text.replace("T", " ")
    year, _, rest = text.lstrip("-").partition("-")
    if text.startswith("-") or int(year) == 0:
        return f"{int(year) + 1:04d}-{rest}{suffix} BC"
    return text + suffix
