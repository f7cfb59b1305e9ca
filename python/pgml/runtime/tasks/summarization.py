"""Shorten texts with an encoder-decoder: `{"summary_text"}` per input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pgml.runtime.tasks import LoadedModel, Results, seq2seq
from pgml.runtime.tasks.seq2seq import load

__all__ = ["load", "run"]


def run(
    model: LoadedModel, inputs: list[Any], args: dict[str, Any], cancelled: Callable[[], bool]
) -> Iterator[Results]:
    """Summarize each text."""
    return seq2seq.run(model, inputs, args, cancelled, "summary_text", "summarization")
