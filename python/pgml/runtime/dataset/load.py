"""Load a data set: the errand that sends its columns, its rows and what was found in them."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
from huggingface_hub.errors import HfHubHTTPError

from pgml.runtime.dataset import copy_binary, copy_text, urls
from pgml.runtime.dataset.arguments import Arguments
from pgml.runtime.dataset.columns import can_be_packed, check_names, columns_of, packed, split_column, written
from pgml.runtime.dataset.findings import Findings
from pgml.runtime.dataset.local import Allowed
from pgml.runtime.dataset.reading import BAD_FILE, Reader, known_features
from pgml.runtime.dataset.scratch import scratch
from pgml.runtime.dataset.sources import Source, open_source
from pgml.runtime.dataset.splits import Part, wanted_parts
from pgml.runtime.errors import BAD_FILE_FORMAT, RuntimeFault, last_line
from pgml.runtime.hub.settings import HubSettings

if TYPE_CHECKING:
    from pgml.runtime.hub.errand import Out

T = TypeVar("T")
FRAME = 1 << 20
"""Bytes of rows in a frame, unless one row alone is longer."""


def run(request: dict[str, Any], payload: bytes, out: Out) -> dict[str, Any]:  # noqa: ARG001 errands have one signature
    """Send a data set's table and rows; gives the fields of the last frame."""
    arguments = Arguments.from_request(request)
    settings = HubSettings.from_request(request.get("hub"))
    allowed = Allowed.from_request(request.get("directories") or [])
    with scratch(settings.cache / "scratch"):
        source = open_source(arguments, settings, allowed, urls.Downloads(request.get("urls") or "", out), out)
        return Load(arguments, source, allowed, out, may_be_binary=bool(request.get("binary"))).run()


class Load:
    """One load under way."""

    def __init__(
        self, arguments: Arguments, source: Source, allowed: Allowed, out: Out, *, may_be_binary: bool = False
    ) -> None:
        layout = source.layout
        arguments.check_options(layout.format)
        self._arguments = arguments
        self._source = source
        self._allowed = allowed
        self._out = out
        self._reader = Reader(layout.format, layout.options | arguments.options, source.token)
        if arguments.limit is not None:
            self._reader.most_rows = max(1, arguments.limit)
        self._binary = may_be_binary
        self._findings = Findings()
        self._open = contextlib.ExitStack()
        self._begun: dict[str, Iterator[pa.Table]] = {}
        self._rows: Counter[str] = Counter()
        self._bytes = 0

    def run(self) -> dict[str, Any]:
        """Send all of it."""
        with self._open:
            return self._run()

    def _run(self) -> dict[str, Any]:
        files = self._source.layout.files
        parts = wanted_parts(self._arguments.splits, list(files), self._count)
        if self._arguments.limit is None and not self._arguments.streaming:
            self._source.download(dict.fromkeys(name for part in parts for name in files[part.split]), self._out)
        self._rows.update(dict.fromkeys((part.split for part in parts), 0))
        self._send_columns(self._schema(parts))
        sent = 0
        for pieces in ahead(self._pieces(parts)):
            for rows, payload in pieces:
                self._out.send({"rows": rows}, payload)
                self._bytes += len(payload)
                sent += rows
            self._out.progress("loading", self._bytes, rows=sent)
        for notice in self._findings.notices:
            self._out.notice(notice)
        return {
            "rows": self._rows.total(),
            "bytes": self._bytes,
            "splits": dict(self._rows),
            "warnings": self._findings.warnings,
        }

    def _count(self, split: str) -> int | None:
        layout = self._source.layout
        if split in layout.rows:
            return layout.rows[split]
        rows = 0
        for name in layout.files[split]:
            with self._reading(name):
                count = self._reader.count(self._source.location(name))
            if count is None:
                return None
            rows += count
        return rows

    def _schema(self, parts: list[Part]) -> pa.Schema:
        """The columns of the first file that has rows or says its columns itself."""
        schema = pa.schema({"text": pa.string()} if self._source.layout.format == "text" else {})
        for name in (name for part in parts for name in self._source.layout.files[part.split]):
            with self._reading(name):
                known = self._reader.schema(self._source.location(name))
                if known is not None:
                    return known
                tables = self._opened(name)
                for first in itertools.islice(tables, 1):
                    schema = first.schema
                    if first.num_rows:
                        self._begun[name] = itertools.chain([first], tables)
                        return schema
        return schema

    def _send_columns(self, schema: pa.Schema) -> None:
        features = known_features(schema) | self._source.layout.features
        wanted = self._arguments.columns
        self._columns = columns_of(schema, features, wanted, self._arguments.label_suffix, self._allowed.may_read)
        self._needed = [column.source for column in self._columns] if wanted else None
        last = split_column(self._columns)
        self._binary = self._binary and bool(self._columns) and can_be_packed(self._columns)
        described = [*(column.described for column in self._columns), last]
        self._out.send({"table": {"columns": described, "format": "binary" if self._binary else "text"}})
        if self._binary:
            self._out.send({"rows": 0}, copy_binary.START)

    def _wanted(self, parts: list[Part]) -> Iterator[tuple[str, pa.Table]]:
        """The rows of all parts up to the limit, each table with its split."""
        left = self._arguments.limit
        for part in parts:
            if left == 0:
                return
            for table in self._part(part):
                chosen = table if left is None else table.slice(0, left)
                yield part.split, chosen
                if left is not None:
                    left -= chosen.num_rows
                if left == 0:
                    return

    def _part(self, part: Part) -> Iterator[pa.Table]:
        """The rows of a part, from all its files."""
        position = 0
        for name in self._source.layout.files[part.split]:
            for table in self._tables(name):
                start, position = position, position + table.num_rows
                first = max(part.start - start, 0)
                end = table.num_rows if part.end is None else min(part.end - start, table.num_rows)
                if first < end:
                    yield table.slice(first, end - first)
                if part.end is not None and position >= part.end:
                    return

    def _tables(self, name: str) -> Iterator[pa.Table]:
        with self._reading(name):
            tables = self._begun.pop(name, None) or self._opened(name, self._needed)
            while (table := next(tables, None)) is not None:
                yield table

    def _opened(self, name: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        # Files are closed also if not all of their rows are wanted.
        return self._open.enter_context(contextlib.closing(self._reader.tables(self._source.location(name), columns)))

    def _pieces(self, parts: list[Part]) -> Iterator[list[tuple[int, bytes]]]:
        """The rows of all parts as COPY wants them, with their number."""
        for split, table in self._wanted(parts):
            first = self._rows.total() + 1
            if self._needed is None:
                check_names(self._columns, table.column_names, first)
            encoded = self._encoded(table, first, split)
            self._rows[split] += table.num_rows
            yield list(copy_text.pieces(encoded, FRAME))

    def _encoded(self, table: pa.Table, first: int, split: str) -> pa.Array:
        """One value a row: its bytes as COPY wants them."""
        if self._binary:
            return copy_binary.rows(packed(self._columns, table, first, self._findings), split)
        values = list(written(self._columns, table, first, self._findings))
        return copy_text.lines(values, split, table.num_rows)

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except RuntimeFault:
            raise
        except (*BAD_FILE, OSError) as error:
            # An OSError without a number speaks of contents, unless it comes from the Hub.
            if isinstance(error, OSError) and (error.errno or isinstance(error, (HfHubHTTPError, ConnectionError))):
                raise
            raise RuntimeFault(
                f'file "{self._source.shown(name)}" cannot be read',
                sqlstate=BAD_FILE_FORMAT,
                detail=f"{last_line(error).rstrip('.')}.",
            ) from error


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The items; the next one is made by a thread while one is used."""
    with ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = pool.submit(next, items, None)
            yield item
