"""Compute the metrics of a classifier from true and predicted class numbers. Knows no models."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

MAX_CONFUSION_LABELS = 100
"""The matrix grows with the square of the labels; above this it is left out."""

Classes = NDArray[np.integer[Any]]


def summarise(true: Classes, predicted: Classes) -> dict[str, float]:
    """What is computed at each evaluation: accuracy, and the mean of the classes that occur for the others."""
    precision, recall, f1, _ = precision_recall_fscore_support(true, predicted, average="macro", zero_division=0)
    return {
        "accuracy": float(accuracy_score(true, predicted)),
        "f1": float(f1),
        "precision": float(precision),
        "recall": float(recall),
    }


def describe(true: Classes, predicted: Classes, labels: list[str]) -> dict[str, Any]:
    """The summary, each class by its label, and how often which label was taken for which (rows are the true ones)."""
    numbers = list(range(len(labels)))
    columns = precision_recall_fscore_support(true, predicted, labels=numbers, average=None, zero_division=0)
    keys = ("precision", "recall", "f1", "support")
    described: dict[str, Any] = summarise(true, predicted)
    described["classes"] = {
        label: dict(zip(keys, (value.item() for value in values), strict=True))
        for label, values in zip(labels, zip(*columns, strict=True), strict=True)
    }
    if len(labels) <= MAX_CONFUSION_LABELS:
        matrix = confusion_matrix(true, predicted, labels=numbers)
        described["confusion_matrix"] = {"labels": labels, "matrix": matrix.tolist()}
    return described
