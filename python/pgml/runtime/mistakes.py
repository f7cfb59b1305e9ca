"""Collect everything that is wrong with a request and report it in one error. Knows nothing of what is checked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.nearest import nearest, quoted_list
from pgml.runtime.redaction import is_secret_key, redact

LONGEST_SHOWN = 60


class Mistakes:
    """Sentences about what is wrong, each with its SQLSTATE and hint."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str, str | None]] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, message: str, *, hint: str | None = None, sqlstate: str = INVALID_PARAMETER_VALUE) -> None:
        """Note one mistake: the message in lower case without a full stop, the hint a sentence."""
        self._found.append((message, sqlstate, hint))

    def add_unknown(self, names: Iterable[str], valid: Iterable[str], owner: str) -> None:
        """Note each name that is not among the valid ones, with the nearest of them."""
        valid = list(valid)
        for name in sorted(set(names) - set(valid)):
            close = nearest(name, valid)
            hint = f'Perhaps you meant "{close}" for "{name}".' if close else f"{owner} takes: {quoted_list(valid)}."
            self.add(f'unknown key "{name}" in {owner}', hint=hint)

    def raise_if_any(self) -> None:
        """Raise one error for all mistakes, the only one as its message, several as lines of its detail."""
        if not self._found:
            return
        if len(self._found) == 1:
            message, sqlstate, hint = self._found[0]
            raise RuntimeFault(message, sqlstate=sqlstate, hint=hint)
        states = {sqlstate for _, sqlstate, _ in self._found}
        hints = dict.fromkeys(hint for _, _, hint in self._found if hint)
        raise RuntimeFault(
            f"{len(self._found)} settings are not valid",
            sqlstate=states.pop() if len(states) == 1 else INVALID_PARAMETER_VALUE,
            detail="\n".join(_sentence(message) for message, _, _ in self._found),
            hint="\n".join(hints) or None,
        )


def _sentence(message: str) -> str:
    """A message as a line of a detail.

    >>> _sentence("unknown task"), _sentence("test_size must be above 0")
    ('Unknown task.', 'test_size must be above 0.')
    """
    starts_with_name = "_" in message.split(maxsplit=1)[0]
    return f"{message}." if starts_with_name else f"{message[0].upper()}{message[1:]}."


def shown(name: str, value: Any) -> str:
    """A value for a message: short, and not at all if its key looks like a secret."""
    if is_secret_key(name) or isinstance(value, (dict, list)):
        return f"this {type_name(value)}"
    text = redact(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def type_name(value: Any) -> str:
    """What JSON calls a value's type.

    >>> type_name(True), type_name(1.5), type_name({})
    ('boolean', 'number', 'object')
    """
    if value is None:
        return "null"
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), type(value).__name__)
