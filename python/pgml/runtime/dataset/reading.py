"""Rows of data files as Arrow tables of bounded size, whatever the format. Knows nothing of splits and of the Hub.

A file is a path of this machine or an hf:// address, of which no more is read than is asked for.
"""

from __future__ import annotations

import contextlib
import json
import lzma
import os
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features
from huggingface_hub import HfFileSystem

from pgml.runtime.dataset import built

CHUNK = 8 << 20
"""Bytes of a table at most, if its rows are of about the same size."""
STEP = 2 << 20
"""The same for a Parquet file, which says its types itself: small, so that who takes the rows seldom waits."""
BUFFER = 1 << 20
"""Bytes of a column of a Parquet file that are read at once."""
MOST_ROWS = 65_536
REMOTE = "hf://"
DEFAULT_OPTIONS: dict[str, dict[str, Any]] = {
    "json": {"chunksize": CHUNK // 2, "parse_agent_traces": False},
    "text": {"chunksize": CHUNK},
}
SAMPLE = 1 << 16
FEWEST_LINES, MOST_LINES = 100, 10_000
BAD_FILE = (pa.ArrowException, ValueError, LookupError, TypeError, EOFError, zlib.error, lzma.LZMAError)
"""What readers raise about contents."""


@dataclass
class Reader:
    """Reads files of one format."""

    format: str
    options: dict[str, Any] = field(default_factory=dict)
    token: str | bool = False
    most_rows: int = MOST_ROWS
    """More are never wanted."""

    def tables(self, location: str, columns: list[str] | None = None) -> Generator[pa.Table, None, None]:
        """The rows of a file; of Parquet files only the columns that are asked for are read."""
        if self.format == "parquet":
            tables = self._parquet(location, columns)
        elif self.format == "arrow":
            tables = self._arrow(location)
        else:
            tables = self._built(location)
        for table in tables:
            yield from _bounded(table)

    def schema(self, location: str) -> pa.Schema | None:
        """The columns of a file that says them itself; None if its rows have to be read."""
        if self.format == "parquet":
            with self._open(location) as file:
                return pq.ParquetFile(file).schema_arrow
        if self.format == "arrow":
            with self._open(location) as file:
                return _ipc(file).schema
        return None

    def count(self, location: str) -> int | None:
        """The number of rows of a file that says it itself."""
        if self.format != "parquet":
            return None
        with self._open(location) as file:
            return int(pq.ParquetFile(file).metadata.num_rows)

    @contextlib.contextmanager
    def _open(self, location: str) -> Iterator[Any]:
        if location.startswith(REMOTE):
            # Parquet files are read here and there, Arrow files from the beginning to the end.
            cache = "none" if self.format == "parquet" else "readahead"
            with HfFileSystem(token=self.token).open(location, "rb", cache_type=cache) as file:
                yield file
        else:
            with pa.memory_map(location) as file:
                yield file

    def _parquet(self, location: str, columns: list[str] | None) -> Iterator[pa.Table]:
        with self._open(location) as file:
            # Without pre_buffer and with a buffer, a column is read bit by bit, however long its row groups are.
            parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=BUFFER)
            metadata = parquet.metadata
            groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
            size = sum(group.total_byte_size for group in groups)
            rows = max(1, min(self.most_rows, MOST_ROWS, STEP * metadata.num_rows // max(1, size)))
            for batch in parquet.iter_batches(rows, columns=columns, use_threads=False):
                yield pa.Table.from_batches([batch])

    def _arrow(self, location: str) -> Iterator[pa.Table]:
        with self._open(location) as file:
            reader = _ipc(file)
            if isinstance(reader, pa.RecordBatchFileReader):
                batches = (reader.get_batch(index) for index in range(reader.num_record_batches))
            else:
                batches = iter(reader)
            for batch in batches:
                yield pa.Table.from_batches([batch])

    def _built(self, location: str) -> Iterator[pa.Table]:
        is_local = not location.startswith(REMOTE)
        if is_local and not Path(location).stat().st_size:
            return
        options = DEFAULT_OPTIONS.get(self.format, {}) | self.options
        if self.format == "csv":
            options["chunksize"] = max(1, min(self.most_rows, _lines(location) if is_local else MOST_LINES))
        yield from built.tables(self.format, location, options, self.token)


def _lines(location: str) -> int:
    """How many lines of a file are as long as a chunk, if all are as long as the first ones."""
    with Path(location).open("rb") as file:
        sample = file.read(SAMPLE)
    return max(FEWEST_LINES, min(MOST_LINES, CHUNK * sample.count(b"\n") // len(sample)))


def known_features(schema: pa.Schema) -> dict[str, Any]:
    """What datasets has written into a file of its columns."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return {}
    try:
        return dict(Features.from_dict(json.loads(text)["info"]["features"]))
    except (ValueError, KeyError, TypeError):
        return {}


def _ipc(file: BinaryIO) -> Any:
    try:
        return pa.ipc.open_stream(file)
    except (OSError, pa.ArrowInvalid):
        file.seek(0, os.SEEK_SET)
        return pa.ipc.open_file(file)


def _bounded(table: pa.Table) -> Iterator[pa.Table]:
    rows = max(1, min(MOST_ROWS, CHUNK * table.num_rows // max(1, table.nbytes)))
    for start in range(0, max(1, table.num_rows), rows):
        yield table.slice(start, rows)
