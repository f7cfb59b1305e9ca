r"""Rows in PostgreSQL's COPY text format, made a column at a time. Knows nothing of where rows come from.

tab between values, \N for NULL, \\ \n \r \t for what would end a value or a row, a line feed after each row
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ESCAPES = (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"))
TEXT = pa.large_string()
"""Of every array here: 64 bit offsets, because a few long values may be more than 2 GiB together."""


def content(array: pa.Array) -> bytes:
    """The bytes of all values together."""
    data = array.buffers()[2]
    offsets = offsets_of(array)
    return b"" if data is None else bytes(memoryview(data)[offsets[0] : offsets[-1]])


def offsets_of(array: pa.Array) -> np.ndarray:
    """Where the values of an array begin and end."""
    if len(array) == 0:
        return np.zeros(1, np.int64)
    return np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]


def escape(array: pa.Array) -> pa.Array:
    """Texts as values of COPY."""
    data = content(array)
    for plain, escaped in ESCAPES:
        if plain.encode() in data:
            array = pc.replace_substring(array, plain, escaped)
    return array


def lines(columns: list[pa.Array], last: str, rows: int) -> pa.Array:
    """Whole lines: values of COPY beside each other, and a last text that is the same for all."""
    end = pa.scalar(escape(pa.array([last], TEXT))[0].as_py() + "\n", TEXT)
    if not columns:
        return pa.repeat(end, rows)
    separator = pa.scalar("\t", TEXT)
    return pc.binary_join_element_wise(*columns, end, separator, null_handling="replace", null_replacement="\\N")


def pieces(array: pa.Array, limit: int) -> Iterator[tuple[int, bytes]]:
    """The lines as bytes, with their number: whole lines, up to the limit unless one alone is longer."""
    data, offsets = content(array), offsets_of(array)
    offsets = offsets - offsets[0]
    start = 0
    while start < len(array):
        end = int(np.searchsorted(offsets, offsets[start] + limit, side="right")) - 1
        end = max(end, start + 1)
        yield end - start, data[offsets[start] : offsets[end]]
        start = end
