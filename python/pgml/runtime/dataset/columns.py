"""The columns that a table gets for a data set. Knows nothing of files and of the text that rows are sent as."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from datasets import ClassLabel

from pgml.runtime.dataset import copy_binary, copy_text
from pgml.runtime.dataset.copy_text import TEXT
from pgml.runtime.dataset.findings import Findings, Unfit
from pgml.runtime.dataset.json_values import json_values
from pgml.runtime.dataset.kinds import Kind, LabelNames, ReadFile, kind_of
from pgml.runtime.dataset.values import Write
from pgml.runtime.errors import (
    DUPLICATE_COLUMN,
    INVALID_PARAMETER_VALUE,
    NAME_TOO_LONG,
    TOO_MANY_COLUMNS,
    UNDEFINED_COLUMN,
    RuntimeFault,
)
from pgml.runtime.nearest import nearest, quoted_list

LONGEST_NAME = 63
MOST_COLUMNS = 1600
SYSTEM_NAMES = ("ctid", "xmin", "xmax", "cmin", "cmax", "tableoid")
COLUMNS_HINT = "Name the columns to load in kwargs.columns."


@dataclass(frozen=True)
class Column:
    """One column of the table: where its values come from, and what they become."""

    name: str
    source: str
    kind: Kind
    comment: str | None = None

    @property
    def described(self) -> dict[str, Any]:
        """What the table frame says of it."""
        return {"name": self.name, "type": self.kind.type, "comment": self.comment}


def columns_of(
    schema: pa.Schema,
    features: dict[str, Any],
    wanted: list[str] | None,
    label_suffix: str | None,
    may_read: ReadFile,
) -> list[Column]:
    """The columns of a schema, or the wanted ones of them; with a suffix, names beside the numbers of labels."""
    columns: list[Column] = []
    for name in _chosen(schema.names, wanted):
        feature = features.get(name)
        column = Column(name, name, kind_of(schema.field(name).type, feature, may_read), _comment(feature))
        columns.append(column)
        if label_suffix and isinstance(feature, ClassLabel):
            columns.append(Column(name + label_suffix, name, Kind("text", LabelNames(feature), None)))
    _check([column.name for column in columns])
    return columns


def split_column(columns: Iterable[Column]) -> dict[str, Any]:
    """The last column, which says from which split a row comes."""
    taken = {column.name.lower() for column in columns}
    names = (f"split_{number}" if number else "split" for number in range(MOST_COLUMNS + 1))
    return {"name": next(name for name in names if name not in taken), "type": "text", "comment": None}


def written(columns: list[Column], table: pa.Table, first_row: int, findings: Findings) -> Iterator[pa.Array]:
    """The values of all columns as values of COPY's text format."""
    for column, array in _converted(columns, table, first_row, findings, lambda kind: kind.write):
        yield array if column.kind.is_plain else copy_text.escape(array)


def packed(columns: list[Column], table: pa.Table, first_row: int, findings: Findings) -> list[tuple[str, pa.Array]]:
    """The types and values of all columns, for COPY's binary format."""
    converted = _converted(columns, table, first_row, findings, lambda kind: kind.number or kind.write)
    return [(column.kind.type, array) for column, array in converted]


def can_be_packed(columns: list[Column]) -> bool:
    """Whether the binary format has all their types."""
    return all(column.kind.type in copy_binary.TYPES for column in columns)


def _converted(
    columns: list[Column],
    table: pa.Table,
    first_row: int,
    findings: Findings,
    write_of: Callable[[Kind], Write],
) -> Iterator[tuple[Column, pa.Array]]:
    for column in columns:
        try:
            array = write_of(column.kind)(_fitting(column, table), findings)
        except Unfit as error:
            raise RuntimeFault(
                f'value of column "{column.name}" in row {first_row + error.index} cannot be stored',
                sqlstate=INVALID_PARAMETER_VALUE,
                detail=f"It {error.reason}.",
                hint=COLUMNS_HINT,
            ) from error
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise _misfit(column, table, first_row, error) from error
        findings.end_column(column.name)
        yield column, array


def check_names(columns: list[Column], names: Iterable[str], first_row: int) -> None:
    """Refuse a column that the first rows did not have: the table has been made without it."""
    known = {column.source for column in columns}
    for name in names:
        if name not in known:
            raise RuntimeFault(
                f'column "{name}" appears first in row {first_row}',
                sqlstate=INVALID_PARAMETER_VALUE,
                detail="The table was made with the columns of the first rows.",
                hint=COLUMNS_HINT,
            )


def _fitting(column: Column, table: pa.Table) -> pa.Array:
    """The column's values as the type that the first rows had."""
    wanted = column.kind.arrow
    if column.source not in table.column_names:
        return pa.nulls(table.num_rows, wanted or pa.null())
    array = table[column.source].combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), wanted or array.type)
    if wanted is None or array.type == wanted:
        return array
    if wanted == TEXT:
        return json_values(array, Findings()) if pa.types.is_nested(array.type) else array
    return array.cast(wanted)


def _misfit(column: Column, table: pa.Table, first_row: int, error: Exception) -> RuntimeFault:
    found = table.schema.field(column.source).type
    return RuntimeFault(
        f'column "{column.name}" of type {column.kind.type} cannot take the values of rows {first_row} to'
        f" {first_row + table.num_rows - 1}",
        sqlstate=INVALID_PARAMETER_VALUE,
        detail=f"These are of type {found}: {error}".rstrip(".") + ".",
        hint="The first rows decide the types. Leave the column out by kwargs.columns, or load the files apart.",
    )


def _chosen(names: list[str], wanted: list[str] | None) -> list[str]:
    _check_equal(names if wanted is None else wanted)
    if wanted is None:
        return names
    for name in wanted:
        if name not in names:
            close = nearest(name, names)
            raise RuntimeFault(
                f'column "{name}" does not exist in the data set',
                sqlstate=UNDEFINED_COLUMN,
                hint=f'Perhaps you meant "{close}".' if close else f"It has: {quoted_list(names)}.",
            )
    return wanted


def _comment(feature: Any) -> str | None:
    if not isinstance(feature, ClassLabel):
        return None
    return "labels: " + ", ".join(f"{number} {name}" for number, name in enumerate(feature.names))


def _check(names: list[str]) -> None:
    """Refuse names that a table cannot have."""
    _check_equal(names)
    if len(names) >= MOST_COLUMNS:
        raise RuntimeFault(
            f"data set has {len(names)} columns, and a table can have {MOST_COLUMNS}",
            sqlstate=TOO_MANY_COLUMNS,
            detail="One is needed for the split.",
            hint=COLUMNS_HINT,
        )
    for name in names:
        if name in SYSTEM_NAMES:
            raise RuntimeFault(
                f'"{name}" cannot be the name of a column',
                sqlstate=DUPLICATE_COLUMN,
                detail="PostgreSQL has a system column of this name in every table.",
                hint=COLUMNS_HINT,
            )
        reason = _why_not(name)
        if reason:
            raise RuntimeFault(
                f'"{name[:LONGEST_NAME]}" cannot be the name of a column',
                sqlstate=NAME_TOO_LONG,
                detail=reason,
                hint=COLUMNS_HINT,
            )


def _why_not(name: str) -> str | None:
    if not name:
        return "It is empty."
    if "\0" in name:
        return "It holds a NUL character."
    if len(name.encode(errors="surrogatepass")) > LONGEST_NAME:
        return f"It is longer than {LONGEST_NAME} bytes."
    return None


def _check_equal(names: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            other = seen[name.lower()]
            raise RuntimeFault(
                f'column "{name}" exists twice'
                if name == other
                else f'columns "{other}" and "{name}" differ only in case',
                sqlstate=DUPLICATE_COLUMN,
                hint=COLUMNS_HINT,
            )
        seen[name.lower()] = name
