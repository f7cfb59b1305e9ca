"""Multiply a few rows by large weights faster on x86 processors: oneDNN instead of what torch would choose.

With some sequences in a batch nearly all time goes into such products. In single precision torch takes MKL for them,
which uses less than half of what many processors can do; for a single row it is as fast as can be.
"""

from __future__ import annotations

import platform
from types import MethodType
from typing import Any

import torch
from torch.nn.functional import linear


def use_onednn(module: Any) -> None:
    """Let the linear layers of a model in single precision on the CPU compute by oneDNN."""
    if not torch.backends.mkldnn.is_available() or platform.machine() != "x86_64":  # type: ignore[no-untyped-call]  # torch gives it no types
        return
    for layer in module.modules():
        if type(layer) is torch.nn.Linear and layer.weight.dtype == torch.float32 and layer.weight.device.type == "cpu":
            layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]  # for this layer alone


def _forward(layer: torch.nn.Linear, inputs: torch.Tensor) -> torch.Tensor:
    if inputs.numel() == inputs.shape[-1] or torch.is_grad_enabled():
        return linear(inputs, layer.weight, layer.bias)
    output: torch.Tensor = torch.ops.mkldnn._linear_pointwise(inputs, layer.weight, layer.bias, "none", [], "")  # noqa: SLF001 it has no other name
    return output
