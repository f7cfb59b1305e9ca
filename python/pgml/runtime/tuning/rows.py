"""Prepare the rows of a tuning job: drop the incomplete ones, split the rest, describe both.

Reads `rows.arrow` of the job's directory, memory-mapped, and writes numbers of its rows, `train.npy` and `test.npy`.
Columns are handled as Arrow and NumPy arrays: a relation may have millions of rows. Knows nothing of models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.tuning import split
from pgml.runtime.tuning.split import Split

MAX_LABELS = 1000
FEW_LABELS = 10
"""So many labels are never too many, however few the rows are."""
NAMED_LABELS = 5


def prepare(header: dict[str, Any]) -> dict[str, Any]:
    """Answer a `prepare` request: the analysis of the rows (docs/protocol.md)."""
    directory = Path(header["job_directory"])
    plan = header["plan"]
    relation = f'relation "{header["relation"]}"' if isinstance(header.get("relation"), str) else "the relation"
    with open_rows(directory) as table:
        used, skipped = _complete_rows(table, [column["role"] for column in plan["columns"]])
        _refuse_unusable(table.num_rows, len(used), skipped, relation)
        notices = _notice_skipped(table.num_rows, skipped)
        labels, classes = _encode_labels(table["label"].take(pa.array(used)))
        _refuse_labels(labels, len(used), relation)
        parts = _split(header, plan["seed"], classes, relation)
        notices += _notice_split(parts, labels, classes)
        digest = _digest(table, used, parts)
    np.save(directory / "train.npy", used[parts.train])
    np.save(directory / "test.npy", used[parts.test])
    return {
        "rows": table.num_rows,
        "used": len(used),
        "skipped": skipped,
        "train_rows": len(parts.train),
        "test_rows": len(parts.test),
        "digest": digest,
        "labels": dict(zip(labels, np.bincount(classes, minlength=len(labels)).tolist(), strict=True)),
        "notices": notices,
    }


@contextmanager
def open_rows(directory: Path) -> Iterator[pa.Table]:
    """The table of a job's `rows.arrow`, memory-mapped."""
    with pa.memory_map(str(directory / "rows.arrow")) as source, pa.ipc.open_stream(source) as stream:
        yield stream.read_all()


def _complete_rows(table: pa.Table, roles: list[str]) -> tuple[NDArray[np.int64], dict[str, int]]:
    """The numbers of the rows that have a value in each role; a row that lacks several counts for the first of them."""
    complete = np.ones(table.num_rows, dtype=bool)
    skipped = {}
    for role in roles:
        present = _is_present(table[role])
        skipped[role] = int(np.count_nonzero(complete & ~present))
        complete &= present
    return np.flatnonzero(complete).astype(np.int64), skipped


def _is_present(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Neither NULL nor empty nor white space alone. Chunk by chunk, because trimming copies."""
    masks = [
        pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(chunk), ""), False).to_numpy(zero_copy_only=False)
        for chunk in column.chunks
    ]
    return np.concatenate(masks) if masks else np.zeros(0, dtype=bool)


def _encode_labels(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """The labels sorted by text, and the number of each row's label in that list."""
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    names = encoded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    return [names[position] for position in order], rank[encoded.indices.to_numpy(zero_copy_only=False)]


def _split(header: dict[str, Any], seed: int, classes: NDArray[np.int64], relation: str) -> Split:
    rows, test_size = len(classes), header["test_size"]
    held_out = split.held_out_rows(rows, test_size)
    if held_out >= rows:
        raise _invalid(
            f"test_size {test_size:g} leaves no row of {relation} to train on",
            f"test_size is the part held out of {rows} usable rows: a share below 1, or fewer rows than there are.",
        )
    if header["test_sampling"] == "last":
        parts = split.last(rows, held_out)
    elif header["test_sampling"] == "random":
        parts = split.random(rows, held_out, seed)
    else:
        parts = split.stratified(classes, held_out, seed)
    if not len(parts.test):
        raise _invalid(
            f"test_size {test_size:g} of {rows} rows of {relation} leaves no row to test on",
            "Use a larger test_size, or more rows: a class with one row is never held out from training.",
        )
    return parts


def _refuse_unusable(rows: int, used: int, skipped: dict[str, int], relation: str) -> None:
    if rows == 0:
        raise _invalid(f"{relation} has no rows", "Check what SELECT returns for it with your privileges.")
    if used == 0:
        counts = ", ".join(f"{count} without {role}" for role, count in skipped.items() if count)
        raise _invalid(f"{relation} has no complete rows: of {rows}, {counts}", "Rows need both text and a label.")


def _refuse_labels(labels: list[str], rows: int, relation: str) -> None:
    if len(labels) == 1:
        raise _invalid(
            f'all rows of {relation} have the label "{_short(labels[0])}"',
            "Two labels at least are needed to tell apart.",
        )
    if len(labels) > MAX_LABELS or (len(labels) > FEW_LABELS and 2 * len(labels) > rows):
        raise _invalid(
            f"{relation} has {len(labels)} different labels in {rows} rows",
            'Is this the label column? Name it in hyperparams: {"dataset_args": {"class_column": "..."}}.',
        )


def _invalid(message: str, hint: str) -> RuntimeFault:
    return RuntimeFault(message, sqlstate=INVALID_PARAMETER_VALUE, hint=hint)


def _notice_skipped(rows: int, skipped: dict[str, int]) -> list[str]:
    counts = ", ".join(f"{count} without {role}" for role, count in skipped.items() if count)
    return [f"skipped {sum(skipped.values())} of {rows} rows: {counts}"] if counts else []


def _notice_split(parts: Split, labels: list[str], classes: NDArray[np.int64]) -> list[str]:
    train, test = len(parts.train), len(parts.test)
    notices = []
    if test > train:
        notices.append(f"test_size is the part held out: {test} rows are for testing, and {train} are left to train on")
    in_train, in_test = (np.bincount(classes[part], minlength=len(labels)) for part in (parts.train, parts.test))
    if never_trained := [label for label, count in zip(labels, in_train, strict=True) if not count]:
        notices.append(f"only in the test part, so the model cannot learn them: {_listed(never_trained)}")
    single = [label for label, a, b in zip(labels, in_train, in_test, strict=True) if (a, b) == (1, 0)]
    if single:
        notices.append(f"labels with a single row, which is trained on and not tested: {_listed(single)}")
    return notices


def _listed(labels: list[str]) -> str:
    names = ", ".join(f'"{_short(label)}"' for label in labels[:NAMED_LABELS])
    return names if len(labels) <= NAMED_LABELS else f"{names} and {len(labels) - NAMED_LABELS} more"


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"


def _digest(table: pa.Table, used: NDArray[np.int64], parts: Split) -> str:
    """The sha256 of the used rows and of the split, whatever rows were skipped between them.

    For each column in order its name and NUL, the lengths of the used values in bytes, their UTF-8 bytes; then how many
    training rows there are, these, and the test rows, numbered among the used ones. Numbers are little-endian int64.
    """
    sha256 = hashlib.sha256()
    for name in table.column_names:
        sha256.update(name.encode() + b"\0")
        for chunk in _used_chunks(table[name], used):
            sha256.update(pc.binary_length(chunk).to_numpy(zero_copy_only=False).astype("<i8").data)
        for chunk in _used_chunks(table[name], used):
            sha256.update(_text_bytes(chunk))
    sha256.update(np.array([len(parts.train)], dtype="<i8").data)
    sha256.update(parts.train.astype("<i8").data)
    sha256.update(parts.test.astype("<i8").data)
    return sha256.hexdigest()


def _used_chunks(column: pa.ChunkedArray, used: NDArray[np.int64]) -> Iterator[pa.Array]:
    """The used values, a chunk of the file at a time, each in buffers of its own."""
    start = 0
    for chunk in column.chunks:
        first, after = np.searchsorted(used, [start, start + len(chunk)])
        yield chunk.take(pa.array(used[first:after] - start))
        start += len(chunk)


def _text_bytes(chunk: pa.Array) -> memoryview:
    """The bytes of all values of a fresh array, one after the other."""
    _, offsets, text = chunk.buffers()
    if text is None or not len(chunk):
        return memoryview(b"")
    ends = np.frombuffer(offsets, dtype=np.int32)
    return memoryview(text)[ends[chunk.offset] : ends[chunk.offset + len(chunk)]]
