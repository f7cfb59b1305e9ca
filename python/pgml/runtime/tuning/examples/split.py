"""Split row numbers into a training and a test part. Knows nothing of rows' contents, files and errors.

Rows are numbered from 0 in the relation's order, and both parts keep that order: shuffling is the business of training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Two disjoint parts that hold all rows."""

    train: Rows
    test: Rows


def held_out_rows(rows: int, test_size: float) -> int:
    """The number of rows to hold out: a share up to 1, rounded half up, or a number of rows above 1."""
    if test_size > 1:
        return int(test_size)
    # The share comes from a `real`; its shortest decimal form is what the user wrote: 0.1, not 0.10000000149.
    share = float(str(np.float32(test_size)))
    return int(np.floor(rows * share + 0.5))


def last(rows: int, held_out: int) -> Split:
    """The last rows are the test part."""
    numbers = np.arange(rows, dtype=np.int64)
    return Split(numbers[: rows - held_out], numbers[rows - held_out :])


def random(rows: int, held_out: int, seed: int) -> Split:
    """Any rows are the test part, the same for the same seed."""
    return _from_test(rows, _generator(seed).permutation(rows)[:held_out])


def stratified(classes: NDArray[np.integer], held_out: int, seed: int) -> Split:
    """Each class gives its share of the test part, within one row of exact, and keeps at least one row for training.

    `classes` holds a number from 0 for each row. Where classes are small the test part has fewer rows than asked for.
    """
    counts = np.bincount(classes)
    quotas = _quotas(counts, held_out)
    shuffled = _generator(seed).permutation(len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    starts = np.cumsum(counts) - counts
    chosen = [by_class[start : start + quota] for start, quota in zip(starts, quotas, strict=True)]
    return _from_test(len(classes), np.concatenate(chosen))


def _quotas(counts: NDArray[np.integer], held_out: int) -> NDArray[np.int64]:
    """Largest remainder: each class its exact share rounded down, then one more for those that lost most by it."""
    exact = counts.astype(np.int64) * held_out
    total = int(counts.sum())
    quotas, remainders = exact // total, exact % total
    may_have_more = (remainders > 0) & (quotas + 1 < counts)
    # Ties go to the class that comes first.
    order = np.argsort(np.where(may_have_more, -remainders, 1), kind="stable")
    missing = min(held_out - int(quotas.sum()), int(may_have_more.sum()))
    quotas[order[:missing]] += 1
    return quotas


def _from_test(rows: int, test: NDArray[np.integer]) -> Split:
    is_test = np.zeros(rows, dtype=bool)
    is_test[test] = True
    return Split(np.flatnonzero(~is_test).astype(np.int64), np.flatnonzero(is_test).astype(np.int64))


def _generator(seed: int) -> np.random.Generator:
    # Named, because default_rng may be another generator in a later NumPy.
    return np.random.Generator(np.random.PCG64(seed))
