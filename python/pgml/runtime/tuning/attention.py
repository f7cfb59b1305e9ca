"""Attention of packed examples, each for itself, under a name that models of transformers can be set to.

Knows tensors; knows nothing of batches and models.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "pgml_packed_training"
KINDS = {"full_attention", "sliding_attention"}
"""Of the layers that are computed here."""
SHORT = 512
"""Up to so many tokens plain multiplications are faster on a CPU than torch's fused attention, backward above all."""


class packed:  # noqa: N801  reads as a statement
    """Say how long the examples are that attention is given in the block."""

    lengths: list[int] | None = None

    def __init__(self, lengths: list[int]) -> None:
        self._lengths = lengths
        self._before = packed.lengths

    def __enter__(self) -> None:
        packed.lengths = self._lengths

    def __exit__(self, *error: object) -> None:
        packed.lengths = self._before


def _attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, _mask: Any, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    if packed.lengths is None and key.shape[2] != query.shape[2]:
        # A token that is generated sees all that the cache holds.
        return sdpa_attention_forward(module, query, key, value, None, **kwargs)
    lengths = packed.lengths or [query.shape[2]]
    parts = zip(*(torch.split(tensor, lengths, dim=2) for tensor in (query, key, value)), strict=True)
    return torch.cat([_one(module, q, k, v, kwargs) for q, k, v in parts], dim=1), None


def _one(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, kwargs: dict[str, Any]
) -> torch.Tensor:
    length, window = query.shape[2], kwargs.get("sliding_window")
    window = window if window and length > window else None
    if query.device.type == "cpu" and length <= SHORT and not kwargs.get("dropout") and query.shape[0] == 1:
        return _short(query, key, value, kwargs.get("scaling"), window)
    mask = _seen(length, window)[None, None].to(query.device) if window else None
    return sdpa_attention_forward(module, query, key, value, mask, **kwargs)[0]


def _short(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None, window: int | None
) -> torch.Tensor:
    """One example, (1, heads, length, width) to (1, length, heads, width); heads that share keys go together."""
    groups, length, width = key.shape[1:]
    shared = query.shape[1] // groups
    stacked = query[0].reshape(groups, shared * length, width)
    mask = _bias(length, window, shared, query.dtype).expand(groups, -1, -1)
    scores = torch.baddbmm(mask, stacked, key[0].transpose(1, 2), alpha=scale or width**-0.5)
    weights = torch.softmax(scores, dim=-1).to(value.dtype)
    return torch.bmm(weights, value[0]).reshape(1, -1, length, value.shape[3]).transpose(1, 2)


@lru_cache(maxsize=SHORT)
def _bias(length: int, window: int | None, shared: int, dtype: torch.dtype) -> torch.Tensor:
    """What keeps tokens from seeing others when added to scores, once for each of the heads that share keys."""
    zeros = torch.zeros(length, length, dtype=dtype)
    return zeros.masked_fill(~_seen(length, window), torch.finfo(dtype).min).repeat(shared, 1)[None]


def _seen(length: int, window: int | None) -> torch.Tensor:
    """Which tokens see which: those before them, as far as the window goes."""
    return torch.ones(length, length, dtype=torch.bool).tril().triu(1 - (window or length))


AttentionInterface.register(NAME, _attention)
