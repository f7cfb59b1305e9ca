"""Compute several LoRA adapters in one pass, each for its own part of a row of tokens. Knows peft's layers."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch


class Shares:
    """Which part of the row each adapter computes: what the layers of a model look at."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, slice]] = []

    def set(self, shares: list[tuple[str | None, int]]) -> None:
        """Take adapters, None for none, with their numbers of tokens in order; neighbours become one part."""
        self.parts = []
        start = 0
        for name, count in shares:
            if name is not None and self.parts and self.parts[-1][0] == name and self.parts[-1][1].stop == start:
                self.parts[-1] = (name, slice(self.parts[-1][1].start, start + count))
            elif name is not None:
                self.parts.append((name, slice(start, start + count)))
            start += count


def share_layers(module: Any, shares: Shares) -> None:
    """Let the LoRA layers of a model add each adapter to its own part of the row."""
    for layer in module.modules():
        if _is_lora_linear(layer):
            layer.forward = MethodType(lambda self, inputs: _forward(self, inputs, shares), layer)


def restore_layers(module: Any) -> None:
    """Give a model its own layers back, after adapters were put in that could not be read."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if hasattr(child, "lora_A") and hasattr(child, "base_layer"):
                setattr(parent, name, child.base_layer)
    if hasattr(module, "peft_config"):
        del module.peft_config


def is_plain(peft: Any, name: str) -> bool:
    """Whether an adapter is no more than LoRA of linear layers."""
    config = peft.peft_config[name]
    if config.modules_to_save or getattr(config, "trainable_token_indices", None):
        return False
    layers = [layer for layer in peft.modules() if hasattr(layer, "lora_A")]
    linear = [layer for layer in layers if _is_lora_linear(layer)]
    return len(layers) == len(linear) and not any(name in layer.lora_variant for layer in linear)


def _is_lora_linear(layer: Any) -> bool:
    from peft.tuners.lora import Linear  # noqa: PLC0415 as in adapters

    return isinstance(layer, Linear)


def _forward(layer: Any, inputs: torch.Tensor, shares: Shares) -> torch.Tensor:
    if not shares.parts:
        output: torch.Tensor = type(layer).forward(layer, inputs)
        return output
    output = layer.base_layer(inputs)
    for name, part in shares.parts:
        if name in layer.lora_A:
            down = layer.lora_A[name]
            added = layer.lora_B[name](down(inputs[:, part].to(down.weight.dtype)))
            output[:, part] += (added * layer.scaling[name]).to(output.dtype)
    return output
