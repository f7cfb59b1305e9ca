"""Turn a JSON value into what a dataclass field is declared to hold. Knows nothing of what a field means."""

from __future__ import annotations

import json
import math
import types
import typing
from dataclasses import Field
from enum import Enum
from typing import Any

from pgml.runtime.nearest import nearest

TRUE_OR_FALSE = {"true": True, "false": False}


class Unfit(ValueError):
    """The value does not fit. The message says what would, as in "must be <message>"; `hint` is a sentence or None."""

    def __init__(self, expected: str, hint: str | None = None) -> None:
        super().__init__(expected)
        self.hint = hint


def coerce(value: Any, field: Field[Any]) -> Any:
    """The value as the field's type wants it: `"2e-5"` for a number and `"true"` for a boolean are taken too."""
    kinds = _kinds(field.type)
    choices = _choices(field, kinds)
    if value is None:
        if type(None) in kinds:
            return None
        raise Unfit(_words(kinds, choices))
    if choices:
        return _choice(value, choices, kinds)
    for kind in (bool, int, float, dict, list, str):
        # A field that takes an object takes a string only as the name of a file that holds it, which is not offered.
        if kind in kinds and not (kind is str and dict in kinds):
            fitting = _CONVERSIONS[kind](value)
            if fitting is not None:
                return fitting
    raise Unfit(_words(kinds, choices))


def _kinds(annotation: Any) -> set[Any]:
    """The types of a union, without their parameters."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return set().union(*(_kinds(part) for part in typing.get_args(annotation)))
    if typing.get_origin(annotation) is typing.Literal:
        return {type(value) for value in typing.get_args(annotation)}
    if annotation is None:
        return {type(None)}
    return {typing.get_origin(annotation) or annotation}


def _choices(field: Field[Any], kinds: set[Any]) -> list[str]:
    enums = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Enum)]
    # A list of enum members is written as a string of words, so its members are no choices.
    return [str(member.value) for enum in enums for member in enum] or [
        str(c) for c in field.metadata.get("choices", ())
    ]


def _choice(value: Any, choices: list[str], kinds: set[Any]) -> Any:
    if isinstance(value, str) and value in choices:
        return value
    if bool in kinds and (fitting := _boolean(value)) is not None:
        return fitting
    close = nearest(value, choices) if isinstance(value, str) else None
    raise Unfit(_words(kinds, choices), f'Perhaps you meant "{close}" for "{value}".' if close else None)


def _boolean(value: Any) -> bool | None:
    if isinstance(value, str):
        return TRUE_OR_FALSE.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _integer(value: Any) -> int | None:
    number = _number(value)
    if number is None or not number.is_integer():
        return None
    # Not through float, which has 53 bits.
    return value if isinstance(value, int) else int(number)


def _object(value: Any) -> dict[str, Any] | None:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, dict) else None


def _strings(value: Any) -> list[str] | None:
    return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else None


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


_CONVERSIONS: dict[type, Any] = {
    bool: _boolean,
    int: _integer,
    float: _number,
    dict: _object,
    list: _strings,
    str: _string,
}
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict: "an object",
    list: "an array of strings",
}


def _words(kinds: set[Any], choices: list[str]) -> str:
    if choices:
        words = ["one of " + ", ".join(choices)]
    else:
        words = [words for kind, words in _WORDS.items() if kind in kinds]
        if str in kinds and dict not in kinds:
            words.append("a string")
    return " or ".join([*words, *(["null"] if type(None) in kinds else [])])
