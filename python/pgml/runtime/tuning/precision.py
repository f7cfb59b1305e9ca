"""Choose in which precision a causal language model is trained on this device. Knows devices, no models."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch


def choose_precision(training_args: dict[str, Any], *, adapts: bool) -> tuple[torch.dtype, dict[str, Any]]:
    """The type of the weights, and arguments that say whether to compute in bfloat16.

    Where the device is fast in bfloat16 it is used unless the arguments say otherwise. Weights that are not trained
    themselves lose nothing by it that matters; weights that are trained are kept in single precision.
    """
    bf16 = training_args.get("bf16")
    if bf16 is None:
        bf16 = not training_args.get("fp16") and is_bfloat16_fast(use_cpu=bool(training_args.get("use_cpu")))
    dtype = torch.bfloat16 if bf16 and adapts else torch.float32
    return dtype, {"bf16": bf16}


def is_bfloat16_fast(*, use_cpu: bool) -> bool:
    """Whether the device multiplies in bfloat16 by itself: a processor without it does so slowly, in pieces."""
    if torch.cuda.is_available() and not use_cpu:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001  no other


def can_quantize(*, use_cpu: bool) -> bool:
    """Whether weights can be loaded in 8 or 4 bits."""
    return torch.cuda.is_available() and not use_cpu and importlib.util.find_spec("bitsandbytes") is not None


def quantization(hyperparams: dict[str, Any]) -> dict[str, Any]:
    """What from_pretrained takes to load the weights in 8 or 4 bits, if that is asked for and possible."""
    asked = {name: True for name in ("load_in_8bit", "load_in_4bit") if hyperparams.get(name)}
    if not asked or not can_quantize(use_cpu=bool(hyperparams["training_args"].get("use_cpu"))):
        return {}
    from transformers import BitsAndBytesConfig  # noqa: PLC0415  only where it can be used

    return {"quantization_config": BitsAndBytesConfig(**asked)}  # type: ignore[no-untyped-call]  # of transformers
