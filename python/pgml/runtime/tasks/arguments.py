"""Check the arguments of a task: names and types, all mistakes in one error. Pure: imports no library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.nearest import check_names


@dataclass(frozen=True)
class Kind:
    """What a value must be, in words and as a test."""

    words: str
    accepts: Callable[[Any], bool]


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


BOOLEAN = Kind("true or false", lambda value: isinstance(value, bool))
COUNT = Kind("a positive integer", lambda value: _is_integer(value) and value > 0)
COUNT_OR_NULL = Kind("a positive integer or null", lambda value: value is None or COUNT.accepts(value))
STRING = Kind("a string", lambda value: isinstance(value, str))
STRINGS = Kind("an array of strings", _is_strings)
STRINGS_OR_STRING = Kind("a string or an array of strings", lambda value: isinstance(value, str) or _is_strings(value))
ANYTHING = Kind("anything", lambda _: True)


def one_of(*words: str) -> Kind:
    """A string out of a list."""
    return Kind(f"one of: {', '.join(words)}", lambda value: value in words)


def check_arguments(args: dict[str, Any], kinds: dict[str, Kind], task: str) -> None:
    """Refuse unknown names and wrong values, all in one error."""
    wrong = [
        f'"{name}" must be {kinds[name].words}'
        for name, value in args.items()
        if name in kinds and not kinds[name].accepts(value)
    ]
    try:
        check_names(args, kinds, "argument", task)
    except RuntimeFault as fault:
        message = "; ".join([fault.message, *wrong])
        raise RuntimeFault(message, sqlstate=fault.sqlstate, hint=fault.hint) from None
    if wrong:
        raise RuntimeFault(f"invalid argument for {task}: {'; '.join(wrong)}", sqlstate=INVALID_PARAMETER_VALUE)
