"""Which PostgreSQL type values of an Arrow type or a feature get, and what writes them. Knows nothing of columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, features
from datasets.table import array_cast

from pgml.runtime.dataset import values
from pgml.runtime.dataset.copy_binary import NUMBERS
from pgml.runtime.dataset.copy_text import TEXT, content, offsets_of
from pgml.runtime.dataset.findings import Findings
from pgml.runtime.dataset.json_values import is_binary, is_list, is_text, json_texts, json_values

INTEGERS = {
    pa.int8(): "smallint",
    pa.uint8(): "smallint",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.uint16(): "integer",
    pa.int64(): "bigint",
    pa.uint32(): "bigint",
    pa.uint64(): "numeric",
}
FLOATS = {pa.float16(): "real", pa.float32(): "real", pa.float64(): "double precision"}
MEDIA = ("Image", "Audio", "Video", "Pdf", "Nifti", "Mesh", "BioSequence", "BioStructure")

ReadFile = Callable[[str], Path | None]
"""The file that a path in the data names, if it may be read."""


@dataclass(frozen=True)
class Kind:
    """A PostgreSQL type and what writes its values; `arrow` is what later batches are cast to, None for any."""

    type: str
    write: values.Write
    arrow: pa.DataType | None
    is_plain: bool = False
    """Whether the texts hold nothing that arrays and COPY must escape."""
    number: values.Write | None = None
    """Gives values as numbers, for the types that are."""


def kind_of(arrow: pa.DataType, feature: Any, may_read: ReadFile) -> Kind:
    """The kind of a column; `feature` says what datasets knows beyond the Arrow type, or is None."""
    if isinstance(feature, ClassLabel):
        number = _LabelNumbers(feature)
        return Kind("integer", _Labels(feature), None, is_plain=True, number=number)
    if type(feature).__name__ in MEDIA:
        return Kind("bytea", _Media(may_read), None)
    if isinstance(feature, features.Json) or isinstance(arrow, pa.JsonType):
        return Kind("jsonb", json_texts, None)
    if isinstance(arrow, pa.BaseExtensionType):
        return _stored_kind(arrow, may_read)
    if isinstance(feature, features.Value):
        arrow = feature()
    if isinstance(feature, (features.List, features.LargeList)) and is_list(arrow):
        return _list_kind(kind_of(arrow.value_type, feature.feature, may_read))
    if is_list(arrow):
        return _list_kind(kind_of(arrow.value_type, None, may_read))
    return _scalar_kind(arrow) or Kind("jsonb", json_values, None)


def _scalar_kind(arrow: pa.DataType) -> Kind | None:
    types = pa.types
    if types.is_dictionary(arrow):
        return _scalar_kind(arrow.value_type)
    if is_text(arrow) or types.is_null(arrow):
        return Kind("text", values.texts, TEXT)
    if is_binary(arrow):
        return Kind("bytea", values.bytes_as_hex, pa.large_binary())
    name, write = None, values.as_text
    if types.is_boolean(arrow):
        name = "boolean"
    elif types.is_integer(arrow):
        name = INTEGERS[arrow]
    elif types.is_floating(arrow):
        name = FLOATS[arrow]
    elif types.is_decimal(arrow):
        name = f"numeric({arrow.precision},{arrow.scale})" if 0 <= arrow.scale <= arrow.precision else "numeric"
    elif types.is_timestamp(arrow):
        name, write = "timestamp" if arrow.tz is None else "timestamptz", values.timestamps
    elif types.is_date(arrow):
        name, write = "date", values.dates
    elif types.is_time(arrow):
        name, write = "time", values.times
    elif types.is_duration(arrow):
        name, write = "interval", values.durations
    number = values.as_number if name in NUMBERS else None
    return Kind(name, write, arrow, is_plain=True, number=number) if name else None


def _stored_kind(arrow: pa.BaseExtensionType, may_read: ReadFile) -> Kind:
    """The kind of an extension type: that of what it is stored as, if nothing more is known of it."""
    if isinstance(arrow, pa.UuidType):
        kind = Kind("uuid", values.uuids, None, is_plain=True)
    else:
        kind = kind_of(arrow.storage_type, None, may_read)
    return Kind(kind.type, lambda array, findings: kind.write(_stored(array), findings), None, kind.is_plain)


def _stored(array: pa.Array) -> pa.Array:
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _list_kind(element: Kind) -> Kind:
    if element.type == "jsonb" or element.type.endswith("[]"):
        return Kind("jsonb", json_values, None)
    return Kind(f"{element.type}[]", _Lists(element), None if element.arrow is None else pa.large_list(element.arrow))


@dataclass(frozen=True)
class _Lists:
    """Lists of scalars as PostgreSQL's arrays."""

    element: Kind

    def __call__(self, array: pa.Array, findings: Findings) -> pa.Array:
        lengths = pc.fill_null(pc.list_value_length(array), 0)
        offsets = np.concatenate([[0], np.cumsum(lengths.to_numpy(zero_copy_only=False))])
        items = self.element.write(pc.list_flatten(array), findings)
        if not self.element.is_plain:
            data = content(items)
            for plain, escaped in (("\\", "\\\\"), ('"', '\\"')):
                if plain.encode() in data:
                    items = pc.replace_substring(items, plain, escaped)
            items = _join(_text('"'), items, _text('"'))
        items = _join(_text(","), pc.fill_null(items, "NULL"))
        joined = pa.Array.from_buffers(
            TEXT, len(array), [None, pa.py_buffer(offsets_of(items)[offsets]), items.buffers()[2]]
        )
        written = _join(pc.binary_replace_slice(joined, 0, 1, "{"), _text("}"))
        return pc.if_else(array.is_valid(), written, pa.scalar(None, TEXT))


@dataclass(frozen=True)
class _Labels:
    """Numbers of labels, which may be given by name."""

    feature: ClassLabel

    def __call__(self, array: pa.Array, findings: Findings) -> pa.Array:
        return numbers(array, self.feature).cast(TEXT)


@dataclass(frozen=True)
class _LabelNumbers:
    """Numbers of labels as they are."""

    feature: ClassLabel

    def __call__(self, array: pa.Array, findings: Findings) -> pa.Array:
        return numbers(array, self.feature)


@dataclass(frozen=True)
class LabelNames:
    """The names of labels; NULL for -1, which stands for none."""

    feature: ClassLabel

    def __call__(self, array: pa.Array, findings: Findings) -> pa.Array:
        labels = numbers(array, self.feature)
        known = pc.and_(pc.greater_equal(labels, 0), pc.less(labels, len(self.feature.names)))
        names = pa.array(self.feature.names, TEXT)
        return values.texts(names.take(pc.if_else(known, labels, pa.scalar(None, pa.int64()))), findings)


def numbers(array: pa.Array, feature: ClassLabel) -> pa.Array:
    """The labels as numbers."""
    if is_text(array.type):
        return feature.cast_storage(array.cast(pa.string()))
    return array.cast(pa.int64())


@dataclass(frozen=True)
class _Media:
    """The bytes of pictures, sounds and the like."""

    may_read: ReadFile

    def __call__(self, array: pa.Array, findings: Findings) -> pa.Array:
        if is_binary(array.type):
            return values.bytes_as_hex(array, findings)
        if is_text(array.type):
            data, paths = pa.nulls(len(array), pa.large_binary()), array
        else:
            array = array_cast(array, array.type)
            data, paths = pc.struct_field(array, "bytes").cast(pa.large_binary()), pc.struct_field(array, "path")
        wanted = pc.and_(data.is_null(), paths.is_valid()).to_numpy(zero_copy_only=False).nonzero()[0]
        if len(wanted):
            read = data.to_pylist()
            for index in wanted:
                file = self.may_read(paths[index].as_py())
                read[index] = file.read_bytes() if file else None
                findings.unread += file is None
            data = pa.array(read, pa.large_binary())
        return values.bytes_as_hex(data, findings)


def _text(text: str) -> pa.Scalar:
    return pa.scalar(text, TEXT)


def _join(*parts: Any) -> pa.Array:
    return pc.binary_join_element_wise(*parts, _text(""))
