"""COPY's binary format, read back by its rules."""

from __future__ import annotations

import struct

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgml.runtime.dataset import copy_binary
from pgml.runtime.dataset.copy_text import TEXT, pieces

FORMATS = {"smallint": ">h", "integer": ">i", "bigint": ">q", "real": ">f", "double precision": ">d", "boolean": ">?"}


def read(data: bytes, kinds: list[str]) -> list[list]:
    """The rows of some bytes, without their last text."""
    rows, at = [], 0
    while at < len(data):
        (count,) = struct.unpack_from(">h", data, at)
        at += 2
        row = []
        for kind in [*kinds, "text"]:
            (length,) = struct.unpack_from(">i", data, at)
            at += 4
            value = None if length == -1 else data[at : at + length]
            at += max(length, 0)
            row.append(value if value is None else decode(kind, value))
        assert count == len(row)
        assert row.pop() == "train ü"
        rows.append(row)
    return rows


def decode(kind: str, value: bytes):
    return value.decode() if kind == "text" else struct.unpack(FORMATS[kind], value)[0]


def encoded(columns: list[tuple[str, pa.Array]]) -> bytes:
    return b"".join(data for _, data in pieces(copy_binary.rows(columns, "train ü"), 64))


def numbers(bits: int):
    return st.none() | st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


ROWS = st.lists(
    st.tuples(
        numbers(16),
        numbers(32),
        numbers(64),
        st.none() | st.floats(width=32, allow_nan=False),
        st.none() | st.floats(allow_nan=False),
        st.none() | st.booleans(),
        st.none() | st.text(st.characters(codec="utf-8")),
    ),
    max_size=8,
)
ARROW = [pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.bool_(), TEXT]


@given(ROWS)
def test_values_come_back(rows):
    kinds = [*FORMATS, "text"]
    values = zip(*rows, strict=True) if rows else [[]] * len(kinds)
    arrays = [pa.array(column, arrow) for column, arrow in zip(values, ARROW, strict=True)]
    assert read(encoded(list(zip(kinds, arrays, strict=True))), kinds) == [list(row) for row in rows]


@pytest.mark.parametrize(
    ("kind", "arrow"),
    [("smallint", pa.int8()), ("smallint", pa.uint8()), ("integer", pa.uint16()), ("bigint", pa.uint32())],
)
def test_narrower_numbers_fill_their_type(kind, arrow):
    array = pa.array([0, None, 2 ** (arrow.bit_width - 1) - 1], arrow)
    assert [value for (value,) in read(encoded([(kind, array)]), [kind])] == array.to_pylist()


def test_a_part_of_an_array_is_no_more_than_that():
    columns = [("text", pa.array(["a", None, "", "ü"], TEXT).slice(1)), ("bigint", pa.array([1, 2, None, 4]).slice(1))]
    assert read(encoded(columns), ["text", "bigint"]) == [[None, 2], ["", None], ["ü", 4]]
