"""Which splits and which rows of them are wanted: 'train', 'train+test', 'train[:100]', 'train[10%:20%]'. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED, INVALID_PARAMETER_VALUE, UNDEFINED_OBJECT, RuntimeFault
from pgml.runtime.nearest import alternatives

SPLIT = re.compile(r"\s*(?P<name>\w+(?:\.\w+)*)(?:\[(?P<start>-?\d+%?)?:(?P<end>-?\d+%?)?\])?\s*")
ALL = "all"

CountRows = Callable[[str], int | None]
"""How many rows a split has, if that is known without reading it."""


@dataclass(frozen=True)
class Part:
    """Rows of a split, from `start` to before `end`."""

    split: str
    start: int = 0
    end: int | None = None


def wanted_parts(splits: list[str] | None, offered: list[str], count: CountRows) -> list[Part]:
    """The parts that the wanted splits are, in the order in which they are wanted."""
    if splits is None:
        return [Part(name) for name in offered]
    parts: list[Part] = []
    for one in "+".join(splits).split("+"):
        match = SPLIT.fullmatch(one)
        if match is None:
            raise RuntimeFault(
                f'split "{one.strip()}" is not understood',
                sqlstate=INVALID_PARAMETER_VALUE,
                hint="Write it like 'train', 'train+test', 'train[:100]' or 'train[10%:20%]'.",
            )
        name, start, end = match.group("name", "start", "end")
        names = offered if name == ALL and ALL not in offered else [_offered(name, offered)]
        parts += [_part(split, start, end, count) for split in names]
    return parts


def _offered(name: str, offered: list[str]) -> str:
    if name in offered:
        return name
    raise RuntimeFault(
        f'split "{name}" does not exist in the data set',
        sqlstate=UNDEFINED_OBJECT,
        hint=alternatives(name, offered),
    )


def _part(split: str, start: str | None, end: str | None, count: CountRows) -> Part:
    needs_rows = any(bound is not None and (bound.endswith("%") or bound.startswith("-")) for bound in (start, end))
    rows = count(split) if needs_rows else None
    if needs_rows and rows is None:
        raise RuntimeFault(
            f'number of rows of split "{split}" is not known before it is read',
            sqlstate=FEATURE_NOT_SUPPORTED,
            detail="Percentages and negative numbers are counted from it.",
            hint=f"Use numbers of rows from the start: '{split}[:1000]'.",
        )
    first, last = _bound(start, rows), _bound(end, rows)
    return Part(split, first or 0, last)


def _bound(bound: str | None, rows: int | None) -> int | None:
    """A bound as a number of rows.

    >>> _bound("10%", 250), _bound("-5", 250), _bound("7", None), _bound(None, None)
    (25, 245, 7, None)
    """
    if bound is None:
        return None
    if bound.endswith("%"):
        assert rows is not None
        number = round(int(bound[:-1]) * rows / 100)
    else:
        number = int(bound)
    return max(0, number + (rows or 0)) if number < 0 else number
