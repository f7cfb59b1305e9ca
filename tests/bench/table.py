"""One table for people."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass
class Row:
    """A measure: what, ours, what it is compared with, and how that relates to the goal."""

    what: str
    pgml: str
    compared: str = ""
    ratio: str = ""
    goal: str = ""
    how: str = ""


HEADS = ("what", "pgml", "compared with", "ratio", "goal", "how")


def render(rows: list[Row]) -> str:
    """The rows below their heads; how each was measured stands below the table, for it is long."""
    cells = [astuple(row)[:-1] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(HEADS[:-1], *cells, strict=True)]
    lines = ["", _line(HEADS[:-1], widths), _line(["-" * width for width in widths], widths)]
    lines += [_line(row, widths) for row in cells]
    notes = dict.fromkeys(f"{row.what.split(';')[0]}: {row.how}" for row in rows if row.how)
    return "\n".join([*lines, "", *notes])


def _line(cells: tuple[str, ...] | list[str], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
