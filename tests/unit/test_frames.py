"""Frames on the wire, and JSON that jsonb takes."""

from __future__ import annotations

import io
import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgml.runtime import frames
from pgml.runtime.errors import RuntimeFault

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


class Trickle(io.RawIOBase):
    """A stream that takes and gives one byte at a time."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data):
        self.data += bytes(data[:1])
        return len(data[:1])

    def readinto(self, buffer):
        part = self.data[:1]
        del self.data[:1]
        buffer[: len(part)] = part
        return len(part)


def test_a_frame_is_two_lengths_then_header_then_payload():
    stream = io.BytesIO()
    frames.write_frame(stream, {"op": "status"}, b"\x00\xff")
    assert stream.getvalue() == struct.pack("<II", 15, 2) + b'{"op":"status"}' + b"\x00\xff"


@given(st.dictionaries(st.text(), st.text()), st.binary(max_size=50))
def test_frames_survive_streams_that_take_and_give_parts(header, payload):
    stream = Trickle()
    frames.write_frame(stream, header, payload)
    frames.write_frame(stream, {"second": 1})
    assert frames.read_frame(stream) == (frames.sanitise(header), payload)
    assert frames.read_frame(stream) == ({"second": 1}, b"")
    assert frames.read_frame(stream) is None


@pytest.mark.parametrize("kept", [1, 7, 9, 25])
def test_an_end_within_a_frame_is_an_error(kept):
    stream = io.BytesIO()
    frames.write_frame(stream, {"op": "transform"}, b"[1,2]")
    with pytest.raises(ConnectionError):
        frames.read_frame(io.BytesIO(stream.getvalue()[:kept]))


@pytest.mark.parametrize("lengths", [(frames.MAX_HEADER + 1, 0), (2, frames.MAX_PAYLOAD + 1)])
def test_lengths_above_the_maximum_are_refused_before_they_are_allocated(lengths):
    with pytest.raises(RuntimeFault, match="too large") as caught:
        frames.read_frame(io.BytesIO(struct.pack("<II", *lengths) + b"{}"))
    assert caught.value.sqlstate == "08P01"


def test_nothing_is_written_of_a_header_above_the_maximum():
    stream = io.BytesIO()
    with pytest.raises(RuntimeFault, match="too large"):
        frames.write_frame(stream, {"x": "y" * frames.MAX_HEADER})
    assert stream.getvalue() == b""


@pytest.mark.parametrize("text", [b"{", b"[1]", b"\xff"])
def test_a_header_that_is_no_object_is_refused(text):
    with pytest.raises(RuntimeFault) as caught:
        frames.read_frame(io.BytesIO(struct.pack("<II", len(text), 0) + text))
    assert caught.value.sqlstate == "08P01"


def test_what_jsonb_refuses_is_replaced():
    value = {
        "loss": math.nan,
        "a\0b": [math.inf, -math.inf, 1.5],
        "text": "x\0y",
        "half": "\ud83d",
        "all": "\U0001f600é",
    }
    assert json.loads(frames.encode(value)) == {
        "loss": None,
        "a\ufffdb": [None, None, 1.5],
        "text": "x\ufffdy",
        "half": "\ufffd",
        "all": "\U0001f600é",
    }


def test_text_that_only_looks_like_an_escaped_nul_stays():
    assert json.loads(frames.encode("\\u0000")) == "\\u0000"


def test_numbers_of_numpy_become_json():
    value = {"score": np.float32(0.5), "nan": np.float32("nan"), "rows": np.array([[1.0, math.nan]]), "n": np.int64(3)}
    assert json.loads(frames.encode(value)) == {"score": 0.5, "nan": None, "rows": [[1.0, None]], "n": 3}


def test_a_value_without_json_form_is_an_error():
    with pytest.raises(TypeError, match="object has no JSON form"):
        frames.encode({"x": object()})


@given(JSON)
def test_whatever_is_encoded_is_valid_for_jsonb(value):
    text = frames.encode(value)

    def refuse(constant):
        raise AssertionError(constant)

    decoded = json.loads(text.decode("utf-8"), parse_constant=refuse)
    assert frames.sanitise(decoded) == decoded
