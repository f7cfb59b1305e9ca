"""Loading a data set against COPY from a program that has the rows already."""

from __future__ import annotations

import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from tests.bench.measures import seconds
from tests.bench.setting import Setting
from tests.bench.table import Row
from tests.cluster import Cluster

MEGABYTE = 1 << 20
TYPES = {pa.int64(): "int8", pa.float64(): "float8", pa.string(): "text"}
LOAD = 'SELECT rows FROM pgml.load_dataset(%s, kwargs => \'{"table": "loaded"}\')'


def reviews() -> pa.Table:
    """25,000 texts of 1.3 kB in the mean, each with a label."""
    chance = random.Random(17)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(1, 9))) for _ in range(5000)]
    texts = [" ".join(chance.choices(words, k=round(chance.expovariate(1 / 217)) + 1)) for _ in range(25_000)]
    return pa.table({"text": texts, "label": [number % 2 for number in range(len(texts))]})


def narrow() -> pa.Table:
    """1,000,000 rows of a bigint, a double and a short text."""
    chance = random.Random(17)
    count = 1_000_000
    return pa.table(
        {
            "id": range(count),
            "score": [chance.random() for _ in range(count)],
            "word": [f"word {number % 977}" for number in range(count)],
        }
    )


def load_against_copy(setting: Setting) -> list[Row]:
    """pgml.load_dataset from Parquet against psycopg's binary COPY of rows in lists."""
    directory = Path(tempfile.mkdtemp(prefix="pgml-data-", dir="/tmp"))
    setting.callback(shutil.rmtree, directory, ignore_errors=True)
    directory.chmod(0o755)
    rows = []
    with setting.database.connect() as connection:
        connection.execute("LOAD 'pgml'")
        connection.execute(f"SET pgml.data_directories = '{directory}'")
        for name, make in (("25,000 reviews", reviews), ("1,000,000 narrow rows", narrow)):
            table = make()
            path = directory / f"{make.__name__}.parquet"
            pq.write_table(table, path)
            rows += compare(setting, connection, name, table, path)
    return rows


def compare(setting: Setting, connection: psycopg.Connection, name: str, table: pa.Table, path: Path) -> list[Row]:
    """The rows of one data set."""
    # What pgml adds: from which split a row comes.
    table = table.append_column("split", pa.array(["train"] * len(table)))
    types = [TYPES[field.type] for field in table.schema]
    columns = ", ".join(f"{name} {kind}" for name, kind in zip(table.column_names, types, strict=True))
    lists = list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def ours() -> None:
        loaded = connection.execute(LOAD, [str(path)]).fetchone()
        assert loaded == (len(lists),)

    def theirs() -> None:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE loaded ({columns})")
            with cursor.copy("COPY loaded FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(types)
                for row in lists:
                    copy.write_row(row)

    def once(work: Callable[[], None]) -> float:
        settle(setting.database.cluster)
        taken = seconds(work)
        connection.execute("DROP TABLE loaded")
        return taken

    with growth_of(connection) as grown:
        once(ours)
    once(theirs)
    pairs = [(once(ours), once(theirs)) for _ in range(setting.rounds(5))]
    ratio = statistics.median(copy / load for load, copy in pairs)
    ours_speed, their_speed = (len(lists) / statistics.median(side) for side in zip(*pairs, strict=True))
    return [
        Row(
            what=f"load: {name}",
            pgml=f"{ours_speed:,.0f} rows/s",
            compared=f"{their_speed:,.0f} rows/s",
            ratio=f"{ratio:.2f}",
            goal=">= 0.7",
            how="pgml.load_dataset of a Parquet file into a new table, with a runtime that waits for work; against "
            "psycopg's binary COPY (write_row) into a new table, of rows that the client has in lists, over a socket",
        ),
        Row(
            what=f"load: {name}; memory of the backend",
            pgml=f"{grown[0] / MEGABYTE:.0f} MB",
            goal="<= 64 MB",
            how="the most private memory (Private_Dirty) of the backend above what it had before; shared buffers that "
            "only it has touched count too",
        ),
    ]


def settle(cluster: Cluster) -> None:
    """Wait until the runtime has nothing to do: after a load it prepares a process for the next one."""

    def used() -> list[str]:
        return [Path(f"/proc/{pid}/stat").read_text().split()[13] for pid in cluster.python_processes()]

    before: list[str] | None = None
    while (now := used()) != before:
        before = now
        time.sleep(0.5)


@contextmanager
def growth_of(connection: psycopg.Connection) -> Iterator[list[int]]:
    """The most bytes that the backend has more than at the beginning; known at the end."""
    path, over, grown = Path(f"/proc/{connection.info.backend_pid}/smaps_rollup"), threading.Event(), [0]

    def private() -> int:
        return int(path.read_text().split("Private_Dirty:")[1].split()[0]) * 1024

    before = private()

    def watch() -> None:
        while not over.is_set():
            grown[0] = max(grown[0], private() - before)
            time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    yield grown
    over.set()
    thread.join()
