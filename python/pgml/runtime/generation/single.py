"""Compute sequences one after the other, each with the cache that the model itself makes: for any kind of decoder."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import Any

import torch


@dataclass
class Past:
    """What a model keeps of one sequence."""

    cache: Any = None


class SingleRunner:
    """Runs a model as it is. A prompt comes in one part: not every cache takes more."""

    chunks = False

    def __init__(self, module: Any) -> None:
        self._module = module
        takes_state = "cache_params" in inspect.signature(module.forward).parameters
        self._name = "cache_params" if takes_state else "past_key_values"  # of models with and without a state

    def start(self) -> Past:
        """The state of a new sequence."""
        return Past()

    def fork(self, state: Past) -> Past:
        """The state of a sequence that goes on as another did."""
        return Past(copy.deepcopy(state.cache))

    @torch.inference_mode()
    def forward(self, parts: list[tuple[Past, list[int]]]) -> torch.Tensor:
        """Read the next tokens of some sequences: the scores for what follows the last of each."""
        return torch.stack([self._forward(past, tokens) for past, tokens in parts])

    def _forward(self, past: Past, tokens: list[int]) -> torch.Tensor:
        inputs = torch.tensor([tokens], device=self._module.device)
        output = self._module(input_ids=inputs, use_cache=True, **{self._name: past.cache})
        past.cache = output[self._name]
        logits: torch.Tensor = output.logits[0, -1]
        return logits
