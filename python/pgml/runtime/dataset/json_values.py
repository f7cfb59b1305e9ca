"""Nested values as texts of jsonb. Knows nothing of COPY and of columns."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
from typing import Any

import pyarrow as pa

from pgml.runtime.dataset.copy_text import TEXT
from pgml.runtime.dataset.findings import Findings
from pgml.runtime.frames import REPLACEMENT, sanitise

NUL = "\\u0000"
SUSPICIOUS = ("\\u", "\\U", "NaN", "Infinity", "\0")
"""What a text of JSON may hold that jsonb refuses."""

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_strict = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def json_values(array: pa.Array, findings: Findings) -> pa.Array:
    """Lists, objects and whatever is in them."""
    kind = array.type
    array, values = _values(array)
    is_broken = array.type != kind and not isinstance(kind, pa.BaseExtensionType)
    if is_broken or not _is_native(kind):
        values = [_plain(value, kind) for value in values]
    texts = [None if value is None else _dumped(value, findings) for value in values]
    if is_broken:
        findings.replaced += sum(text is not None and REPLACEMENT in text for text in texts)
    return pa.array(texts, TEXT)


def json_texts(array: pa.Array, findings: Findings) -> pa.Array:
    """Texts that are JSON already: only those are read that may hold what jsonb refuses."""
    if not is_text(array.type) and not isinstance(array.type, pa.JsonType):
        return json_values(array, findings)
    _, texts = _values(array)
    return pa.array([None if text is None else _checked(text, findings) for text in texts], TEXT)


def is_text(kind: pa.DataType) -> bool:
    """Whether values are texts."""
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def is_binary(kind: pa.DataType) -> bool:
    """Whether values are bytes."""
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


def is_list(kind: pa.DataType) -> bool:
    """Whether values are lists of one type."""
    types = pa.types
    tests = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view, types.is_large_list_view)
    return any(test(kind) for test in tests)


def _checked(text: str, findings: Findings) -> str:
    if any(part in text for part in SUSPICIOUS):
        return _dumped(json.loads(text, strict=False), findings)
    return text


def _dumped(value: Any, findings: Findings) -> str:
    try:
        text = _strict(value)
        if NUL not in text:
            text.encode()
            return text
    except ValueError:  # NaN or Infinity, or a lone surrogate
        text = _compact(value)
    cleaned = _compact(sanitise(value))
    findings.replaced += cleaned.count(REPLACEMENT) > text.count(REPLACEMENT)
    return cleaned


def _values(array: pa.Array) -> tuple[pa.Array, list[Any]]:
    """The values in Python, and the array that they were taken from."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    try:
        return array, array.to_pylist(maps_as_pydicts="lossy")
    except UnicodeDecodeError:
        array = array.cast(_with_bytes(array.type))
        return array, array.to_pylist(maps_as_pydicts="lossy")


def _with_bytes(kind: pa.DataType) -> pa.DataType:
    """The type with bytes in the place of texts, for texts that are not UTF-8."""
    if is_text(kind):
        return pa.large_binary()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_with_bytes(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_with_bytes(kind.key_type), _with_bytes(kind.item_type))
    return pa.large_list(_with_bytes(kind.value_type)) if is_list(kind) else kind


def _is_native(kind: pa.DataType) -> bool:
    """Whether Python's values are what JSON has."""
    if pa.types.is_struct(kind):
        return all(_is_native(field.type) for field in kind)
    if pa.types.is_map(kind):
        return _is_native(kind.key_type) and _is_native(kind.item_type)
    if is_list(kind):
        return _is_native(kind.value_type)
    types = pa.types
    tests = (is_text, types.is_boolean, types.is_integer, types.is_floating, types.is_null)
    return any(test(kind) for test in tests)


def _plain(value: Any, kind: pa.DataType) -> Any:
    """A value with nothing in it but what JSON has."""
    if value is None:
        return None
    if isinstance(kind, pa.JsonType):
        return json.loads(value)
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(value, kind.storage_type)
    if pa.types.is_struct(kind):
        return {field.name: _plain(value.get(field.name), field.type) for field in kind}
    if pa.types.is_map(kind):
        return {str(_plain(key, kind.key_type)): _plain(item, kind.item_type) for key, item in value.items()}
    if is_list(kind):
        return [_plain(item, kind.value_type) for item in value]
    return _plain_scalar(value, kind)


def _plain_scalar(value: Any, kind: pa.DataType) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode() if is_binary(kind) else value.decode(errors="replace")
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    return value if isinstance(value, (str, bool, int, float)) else value.isoformat()
