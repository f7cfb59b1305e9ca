"""Turn the rows of a job into token ids on disk, memory-mapped: as many rows as fit the disk, whatever the memory.

Knows tokenizers and files; knows nothing of models and training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset
from transformers import BatchEncoding

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.tasks.text_classification import encode, max_length
from pgml.runtime.tuning.examples.makers import Maker, TooLong

PROGRAM_LIMIT_EXCEEDED = "54000"

Batch = dict[str, list[Any]]
"""Values by column."""
Count = Callable[[int], None]
"""Is told the number of rows of each batch."""
LENGTH = "length"
"""The column that TrainingArguments reads to group rows by length."""


@dataclass(frozen=True)
class Part:
    """The training or the test part: columns input_ids, attention_mask, labels, …, length.

    A causal language model's examples have no attention_mask, and `prompt_length`.
    """

    rows: Dataset
    truncated: int
    tokens: int
    too_long: int = 0
    untrained: int = 0
    """Rows that were dropped: for their length, or because no token of them is trained."""


def tokenise(
    job: Path, part: str, tokenizer: Any, labels: list[str], tokenizer_args: dict[str, Any], count: Count
) -> Part:
    """Tokenise the rows that `<part>.npy` numbers, without padding."""
    rows = _rows(job, part)
    number = {label: position for position, label in enumerate(labels)}
    texts = [name for name in rows.column_names if name != "label"]
    truncated = 0

    def encode_batch(batch: Batch) -> dict[str, Any]:
        nonlocal truncated
        pairs = batch[texts[1]] if len(texts) > 1 else None
        encoded = encode(tokenizer, batch[texts[0]], pairs, tokenizer_args)
        truncated += _count_truncated(encoded, tokenizer, tokenizer_args)
        columns = dict(encoded)
        columns["labels"] = [number[label] for label in batch["label"]]
        columns[LENGTH] = [len(ids) for ids in encoded["input_ids"]]
        return columns

    tokens = _map(rows, encode_batch, job, part, count)
    return Part(tokens, truncated, _count_tokens(tokens))


def tokenise_examples(job: Path, part: str, make: Maker, on_overflow: str, count: Count) -> Part:
    """Tokenise the rows that `<part>.npy` numbers into examples of a causal language model."""
    rows = _rows(job, part)
    counts = dict.fromkeys(("truncated", "too_long", "untrained"), 0)

    def make_batch(batch: Batch) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {"input_ids": [], "labels": [], "prompt_length": [], LENGTH: []}
        for values in zip(*batch.values(), strict=True):
            try:
                examples = make(dict(zip(batch, values, strict=True)))
            except TooLong as error:
                if on_overflow == "error":
                    raise _too_long(error.length) from error
                counts["too_long"] += 1
                continue
            trained = [example for example in examples if example.is_trained]
            counts["truncated"] += any(example.was_cut for example in trained)
            counts["untrained"] += not trained
            for example in trained:
                columns["input_ids"].append(example.ids)
                columns["labels"].append(example.labels)
                columns["prompt_length"].append(example.prompt_length)
                columns[LENGTH].append(len(example.ids))
        return columns

    tokens = _map(rows, make_batch, job, part, count)
    return Part(tokens, tokens=_count_tokens(tokens), **counts)


def count_rows(train: Part, test: Part) -> dict[str, int]:
    """What metrics say of the rows of both parts."""
    return {
        "train_rows": len(train.rows),
        "test_rows": len(test.rows),
        "truncated_rows": train.truncated + test.truncated,
        "dropped_rows": train.too_long + train.untrained + test.too_long + test.untrained,
    }


def unusual_rows(train: Part, test: Part, used: int) -> list[str]:
    """Sentences about rows that were not used as they are."""
    counts = {
        "are longer than the model takes and were truncated": train.truncated + test.truncated,
        "are longer than max_seq_length and were dropped": train.too_long + test.too_long,
        "hold no answer to learn and were dropped": train.untrained + test.untrained,
    }
    return [f"{count} of {used} rows {what}" for what, count in counts.items() if count]


def _too_long(length: int) -> RuntimeFault:
    return RuntimeFault(
        f"a row has {length} tokens, more than max_seq_length",
        sqlstate=PROGRAM_LIMIT_EXCEEDED,
        hint='Raise "max_seq_length" in hyperparams, or set "on_overflow" in dataset_args to "truncate" or "drop".',
    )


def _rows(job: Path, part: str) -> Dataset:
    return Dataset.from_file(str(job / "rows.arrow")).select(np.load(job / f"{part}.npy"))


def _map(rows: Dataset, function: Callable[[Batch], Any], job: Path, part: str, count: Count) -> Dataset:
    def counted(batch: Batch) -> Any:
        columns = function(batch)
        count(len(next(iter(batch.values()))))
        return columns

    target = job / "output" / f"{part}.tokens"
    target.parent.mkdir(exist_ok=True)
    return rows.map(
        counted,
        batched=True,
        remove_columns=rows.column_names,
        cache_file_name=str(target),
        load_from_cache_file=False,
        # Else the function and the tokenizer would be pickled for a name that is not asked for.
        new_fingerprint=part,
    )


def _count_tokens(tokens: Dataset) -> int:
    return pc.sum(tokens.data.column(LENGTH)).as_py() or 0 if len(tokens) else 0


def _count_truncated(encoded: BatchEncoding, tokenizer: Any, tokenizer_args: dict[str, Any]) -> int:
    if encoded.encodings is not None:
        return sum(bool(encoding.overflowing) for encoding in encoded.encodings)
    # A tokenizer written in Python does not say what it cut off: a text of exactly the maximum is counted too.
    limit = max_length(tokenizer, None, tokenizer_args)
    return sum(len(ids) >= limit for ids in encoded["input_ids"])
