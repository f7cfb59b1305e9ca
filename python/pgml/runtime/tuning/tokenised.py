"""Turn the rows of a job into token ids on disk, memory-mapped: as many rows as fit the disk, whatever the memory.

Knows tokenizers and files; knows nothing of models and training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset
from transformers import BatchEncoding

from pgml.runtime.tasks.text_classification import encode, max_length

LENGTH = "length"
"""The column that TrainingArguments reads to group rows by length."""


@dataclass(frozen=True)
class Part:
    """The training or the test part: columns input_ids, attention_mask, labels, …, length."""

    rows: Dataset
    truncated: int
    tokens: int


def tokenise(job: Path, part: str, tokenizer: Any, labels: list[str], tokenizer_args: dict[str, Any]) -> Part:
    """Tokenise the rows that `<part>.npy` numbers, without padding."""
    rows = Dataset.from_file(str(job / "rows.arrow")).select(np.load(job / f"{part}.npy"))
    number = {label: position for position, label in enumerate(labels)}
    texts = [name for name in rows.column_names if name != "label"]
    truncated = 0

    def encode_batch(batch: dict[str, list[str]]) -> dict[str, Any]:
        nonlocal truncated
        pairs = batch[texts[1]] if len(texts) > 1 else None
        encoded = encode(tokenizer, batch[texts[0]], pairs, tokenizer_args)
        truncated += _count_truncated(encoded, tokenizer, tokenizer_args)
        columns = dict(encoded)
        columns["labels"] = [number[label] for label in batch["label"]]
        columns[LENGTH] = [len(ids) for ids in encoded["input_ids"]]
        return columns

    target = job / "output" / f"{part}.tokens"
    target.parent.mkdir(exist_ok=True)
    tokens = rows.map(
        encode_batch,
        batched=True,
        remove_columns=rows.column_names,
        cache_file_name=str(target),
        load_from_cache_file=False,
        # Else the function and the tokenizer would be pickled for a name that is not asked for.
        new_fingerprint=part,
    )
    return Part(tokens, truncated, pc.sum(tokens.data.column(LENGTH)).as_py())


def _count_truncated(encoded: BatchEncoding, tokenizer: Any, tokenizer_args: dict[str, Any]) -> int:
    if encoded.encodings is not None:
        return sum(bool(encoding.overflowing) for encoding in encoded.encodings)
    # A tokenizer written in Python does not say what it cut off: a text of exactly the maximum is counted too.
    limit = max_length(tokenizer, None, tokenizer_args)
    return sum(len(ids) >= limit for ids in encoded["input_ids"])
