"""Put rows of token ids into batches and tensors. Knows torch; nothing of models' heads and of tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

BATCH_TOKENS = 2048
"""Tokens of a batch, with padding. More is slower on a CPU: activations then leave the cache."""


def token_batches(lengths: list[int], tokens: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """Rows of similar length together, the shortest first, so many that they have at most `tokens` tokens with padding.

    >>> list(token_batches([3, 9, 4], 8))
    [[0, 2], [1]]
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[row] * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def padded_tensors(
    encoded: Mapping[str, list[list[int]]], rows: list[int], tokenizer: Any, device: torch.device
) -> dict[str, torch.Tensor]:
    """Some rows of what was encoded as tensors, padded on the right to the longest of them."""
    padding = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
    width = max(len(encoded["input_ids"][row]) for row in rows)
    tensors = {}
    for name, values in encoded.items():
        fill = [padding.get(name, 0)]
        tensors[name] = torch.tensor([values[row] + fill * (width - len(values[row])) for row in rows], device=device)
    return tensors
