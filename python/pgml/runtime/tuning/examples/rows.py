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
from pgml.runtime.tuning.arguments.causal_columns import COMPLETION, FIELD, SYSTEM
from pgml.runtime.tuning.arguments.columns import LABEL
from pgml.runtime.tuning.examples import split
from pgml.runtime.tuning.examples.row_messages import check_messages
from pgml.runtime.tuning.examples.split import Split

MAX_LABELS = 1000
FEW_LABELS = 10
"""So many labels are never too many, however few the rows are."""
NAMED_LABELS = 5


def prepare(header: dict[str, Any]) -> dict[str, Any]:
    """Answer a `prepare` request: the analysis of the rows (docs/reference/protocol.md)."""
    directory = Path(header["job_directory"])
    plan = header["plan"]
    relation = f'relation "{header["relation"]}"' if isinstance(header.get("relation"), str) else "the relation"
    with open_rows(directory) as table:
        used, skipped = _complete_rows(table, required_roles(plan))
        _refuse_unusable(table.num_rows, len(used), skipped, relation)
        notices = _notice_skipped(table.num_rows, skipped)
        if "messages" in table.column_names:
            check_messages(table["messages"], used, relation)
        classes = None
        if LABEL.name in table.column_names:
            labels, classes = _encode_labels(table[LABEL.name].take(pa.array(used)))
            _refuse_labels(labels, len(used), relation)
        parts = _split(header, plan["seed"], len(used), classes, relation)
        notices += _notice_larger_test(parts)
        if classes is not None:
            notices += _notice_split(parts, labels, classes)
        digest = _digest(table, used, parts)
    np.save(directory / "train.npy", used[parts.train])
    np.save(directory / "test.npy", used[parts.test])
    analysis = {
        "rows": table.num_rows,
        "used": len(used),
        "skipped": skipped,
        "train_rows": len(parts.train),
        "test_rows": len(parts.test),
        "digest": digest,
        "notices": notices,
    }
    if classes is not None:
        counts = np.bincount(classes, minlength=len(labels)).tolist()
        analysis["labels"] = dict(zip(labels, counts, strict=True))
    return analysis


def required_roles(plan: dict[str, Any]) -> list[str]:
    """The roles without which a row cannot be used; the others may be NULL or empty."""
    roles = [column["role"] for column in plan["columns"]]
    if any(role.startswith(FIELD) for role in roles):
        # What a prompt is filled with may be empty; what is to be learned may not.
        return [FIELD + plan["hyperparams"]["dataset_args"][COMPLETION.key]]
    return [role for role in roles if role != SYSTEM.name]


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


def _split(header: dict[str, Any], seed: int, rows: int, classes: NDArray[np.int64] | None, relation: str) -> Split:
    test_size = header["test_size"]
    held_out = split.held_out_rows(rows, test_size)
    if held_out >= rows:
        raise _invalid(
            f"test_size {test_size:g} leaves no row of {relation} to train on",
            f"test_size is the part held out of {rows} usable rows: a share below 1, or fewer rows than there are.",
        )
    if header["test_sampling"] == "last":
        parts = split.last(rows, held_out)
    elif header["test_sampling"] == "random" or classes is None:
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
        counts = ", ".join(f"{count} without {_what(role)}" for role, count in skipped.items() if count)
        needed = " and ".join(["text", "a label"] if "label" in skipped else [_what(role) for role in skipped])
        both = "both " if " and " in needed else ""
        raise _invalid(f"{relation} has no complete rows: of {rows}, {counts}", f"Rows need {both}{needed}.")


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
    counts = ", ".join(f"{count} without {_what(role)}" for role, count in skipped.items() if count)
    return [f"skipped {sum(skipped.values())} of {rows} rows: {counts}"] if counts else []


def _what(role: str) -> str:
    return role.removeprefix(FIELD)


def _notice_larger_test(parts: Split) -> list[str]:
    train, test = len(parts.train), len(parts.test)
    if test <= train:
        return []
    return [f"test_size is the part held out: {test} rows are for testing, and {train} are left to train on"]


def _notice_split(parts: Split, labels: list[str], classes: NDArray[np.int64]) -> list[str]:
    notices = []
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

    For each column in order its name and NUL, the lengths of the used values in bytes (-1 for a NULL), their UTF-8
    bytes; then how many training rows there are, these, and the test rows, numbered among the used ones. Numbers are
    little-endian int64.
    """
    sha256 = hashlib.sha256()
    for name in table.column_names:
        sha256.update(name.encode() + b"\0")
        for chunk in _used_chunks(table[name], used):
            lengths = pc.fill_null(pc.binary_length(chunk), -1)
            sha256.update(lengths.to_numpy(zero_copy_only=False).astype("<i8").data)
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
