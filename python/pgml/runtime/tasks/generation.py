"""What all tasks that generate text share: valid arguments, and a way to stop. Knows transformers' generation only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from pgml.runtime.tasks import LoadedModel
from pgml.runtime.tasks.arguments import ANYTHING, COUNT, STRING, Kind

_FIELDS = GenerationConfig().to_dict()  # type: ignore[no-untyped-call]
# Fields that describe a saved configuration or return tensors instead of text.
_NOT_ARGUMENTS = {"_from_model_config", "transformers_version", "return_dict_in_generate"}

GENERATION_ARGUMENTS: dict[str, Kind] = {
    **{name: ANYTHING for name in _FIELDS if name not in _NOT_ARGUMENTS and name[:7] != "output_"},
    "batch_size": COUNT,
    "max_length": COUNT,
    "max_new_tokens": COUNT,
    "num_beams": COUNT,
    "num_return_sequences": COUNT,
    "prefix": STRING,
    "truncation": ANYTHING,
}
"""Names and types; the values of most are checked by `generate` itself."""


def generation_extras(model: LoadedModel, args: dict[str, Any], cancelled: Callable[[], bool]) -> dict[str, Any]:
    """What `generate` needs beside the user's arguments: a way to stop, and the tokenizer to find stop strings."""
    extras: dict[str, Any] = {"stopping_criteria": StoppingCriteriaList([_WhenCancelled(cancelled)])}
    if args.get("stop_strings"):
        extras["tokenizer"] = model.tokenizer
    return extras


class _WhenCancelled(StoppingCriteria):
    """Stop before the next token once the client is gone."""

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), self._cancelled(), device=input_ids.device, dtype=torch.bool)
