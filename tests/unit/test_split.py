"""Properties of the splits: nothing lost, nothing twice, seeded, and shares within one row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgml.runtime.tuning.examples import split

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def rows_and_held_out(draw):
    rows = draw(st.integers(2, 300))
    return rows, draw(st.integers(1, rows - 1))


@st.composite
def classes_and_held_out(draw):
    """Classes of very different sizes, in any order, each with one row at least."""
    counts = draw(st.lists(st.integers(1, 60), min_size=2, max_size=8))
    classes = np.repeat(np.arange(len(counts)), counts)
    order = np.random.default_rng(draw(SEEDS)).permutation(len(classes))
    return classes[order], draw(st.integers(1, len(classes) - 1))


def assert_is_partition(parts, rows):
    assert sorted([*parts.train, *parts.test]) == list(range(rows))
    assert parts.train.dtype == parts.test.dtype == np.int64
    assert list(parts.train) == sorted(parts.train)
    assert list(parts.test) == sorted(parts.test)


@given(rows_and_held_out())
def test_last_holds_out_the_end(drawn):
    rows, held_out = drawn
    parts = split.last(rows, held_out)
    assert_is_partition(parts, rows)
    assert list(parts.test) == list(range(rows - held_out, rows))


@given(rows_and_held_out(), SEEDS)
def test_random_is_complete_seeded_and_of_the_size_asked_for(drawn, seed):
    rows, held_out = drawn
    parts = split.random(rows, held_out, seed)
    assert_is_partition(parts, rows)
    assert len(parts.test) == held_out
    assert np.array_equal(parts.test, split.random(rows, held_out, seed).test)


@given(classes_and_held_out(), SEEDS)
def test_stratified_is_complete_seeded_and_within_one_row_of_each_share(drawn, seed):
    classes, held_out = drawn
    parts = split.stratified(classes, held_out, seed)
    assert_is_partition(parts, len(classes))
    assert np.array_equal(parts.test, split.stratified(classes, held_out, seed).test)
    counts = np.bincount(classes)
    tested = np.bincount(classes[parts.test], minlength=len(counts))
    assert (np.abs(tested - counts * held_out / len(classes)) <= 1).all()
    assert (tested < counts).all(), "each class keeps a row to train on"


@given(classes_and_held_out(), SEEDS)
def test_stratified_has_the_size_asked_for_unless_classes_are_too_small(drawn, seed):
    classes, held_out = drawn
    parts = split.stratified(classes, held_out, seed)
    assert len(parts.test) <= held_out
    counts = np.bincount(classes)
    # A class may give its share rounded up unless that is all of it.
    room = np.minimum(np.ceil(counts * held_out / len(classes)), counts - 1)
    assert len(parts.test) == min(held_out, room.sum())


@pytest.mark.parametrize("sampling", ["random", "stratified"])
def test_another_seed_gives_another_split(sampling):
    classes = np.arange(100) % 4
    splits = [
        split.random(100, 25, seed) if sampling == "random" else split.stratified(classes, 25, seed) for seed in (1, 2)
    ]
    assert not np.array_equal(splits[0].test, splits[1].test)


def test_a_split_stays_the_same_over_versions():
    """Models of earlier versions were tuned on these rows."""
    assert split.random(20, 5, 42).test.tolist() == [7, 9, 12, 14, 15]
    assert split.stratified(np.arange(20) % 2, 5, 42).test.tolist() == [9, 10, 12, 14, 15]


@pytest.mark.parametrize(
    ("rows", "test_size", "held_out"),
    [
        (764, 0.25, 191),
        (10, 0.25, 3),  # half up
        (15, 0.1, 2),
        (15, float(np.float32(0.7)), 11),  # what a real makes of 0.7 is a little less
        (100, 30, 30),
        (100, 1.0, 100),
        (3, 0.1, 0),
    ],
)
def test_held_out_rows(rows, test_size, held_out):
    assert split.held_out_rows(rows, test_size) == held_out


def test_largest_remainder_favours_the_class_that_lost_most():
    # Exact shares of 10 out of 100 rows: 4.5, 3.3, 2.2.
    classes = np.repeat([0, 1, 2], [45, 33, 22])
    parts = split.stratified(classes, 10, 0)
    assert np.bincount(classes[parts.test]).tolist() == [5, 3, 2]
