"""Metrics against numbers computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pgml.runtime.tuning.metrics import MAX_CONFUSION_LABELS, describe, summarise

TRUE = np.array([0, 0, 0, 0, 1, 1])
PREDICTED = np.array([0, 0, 0, 1, 1, 0])


def test_summary_is_accuracy_and_means_over_classes():
    summary = summarise(TRUE, PREDICTED)
    assert summary["accuracy"] == pytest.approx(4 / 6)
    assert summary["precision"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert summary["recall"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert summary["f1"] == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_classes_are_keyed_by_label_and_count_what_was_true():
    classes = describe(TRUE, PREDICTED, ["cat", "dog"])["classes"]
    assert classes["cat"] == {"precision": 0.75, "recall": 0.75, "f1": 0.75, "support": 4}
    assert classes["dog"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}


def test_rows_of_the_confusion_matrix_are_true_labels():
    confusion = describe(TRUE, PREDICTED, ["cat", "dog"])["confusion_matrix"]
    assert confusion == {"labels": ["cat", "dog"], "matrix": [[3, 1], [1, 1]]}


def test_a_label_that_does_not_occur_is_listed_but_does_not_lower_the_mean():
    described = describe(TRUE, PREDICTED, ["cat", "dog", "unseen"])
    assert described["classes"]["unseen"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert described["f1"] == summarise(TRUE, PREDICTED)["f1"]
    assert described["confusion_matrix"]["matrix"][2] == [0, 0, 0]


def test_the_confusion_matrix_of_many_labels_is_left_out():
    labels = [str(number) for number in range(MAX_CONFUSION_LABELS + 1)]
    assert "confusion_matrix" not in describe(TRUE, PREDICTED, labels)
    assert "confusion_matrix" in describe(TRUE, PREDICTED, labels[:-1])


def test_values_are_plain_numbers():
    described = describe(TRUE, PREDICTED, ["cat", "dog"])
    assert type(described["f1"]) is float
    assert type(described["classes"]["cat"]["support"]) is int
    assert type(described["classes"]["cat"]["f1"]) is float
