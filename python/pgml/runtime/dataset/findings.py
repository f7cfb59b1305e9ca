"""What was found in the values of a data set and is told at the end. Knows nothing of values."""

from __future__ import annotations

from dataclasses import dataclass, field

REPLACED = "{} held NUL characters or invalid UTF-8, which were replaced by U+FFFD"
UNREAD = "{} named a file instead of holding one, and became NULL"
CUT = 'values of column "{}" were cut to microseconds'


class Unfit(ValueError):
    """A value that PostgreSQL cannot hold: its place in the array, and why."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index
        self.reason = reason


@dataclass
class Findings:
    """How often something had to be changed, of one load."""

    replaced: int = 0
    unread: int = 0
    cut: bool = False
    cut_columns: list[str] = field(default_factory=list)

    def end_column(self, name: str) -> None:
        """The values of a column were written: note what was found in them under its name."""
        if self.cut and name not in self.cut_columns:
            self.cut_columns.append(name)
        self.cut = False

    @property
    def warnings(self) -> list[str]:
        """What a user must know."""
        return [REPLACED.format(_values(self.replaced))] if self.replaced else []

    @property
    def notices(self) -> list[str]:
        """What a user may want to know."""
        unread = [UNREAD.format(_values(self.unread))] if self.unread else []
        return unread + [CUT.format(name) for name in self.cut_columns]


def _values(count: int) -> str:
    return "1 value" if count == 1 else f"{count} values"
