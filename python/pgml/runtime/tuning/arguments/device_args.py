"""Check what arguments ask of this machine: its packages, its processor, its GPU.

Where something else serves as well it is used instead, and that is warned of. Knows nothing of models.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED
from pgml.runtime.mistakes import Mistakes
from pgml.runtime.tuning.arguments.training_names import OPTIMIZER_PACKAGES

OWNER = "training_args"
SUBSTITUTE = "adamw_torch"


def check_optimizer(values: dict[str, Any], mistakes: Mistakes, warned: list[str]) -> None:
    """Use another optimizer for one that only saves memory, and refuse others, if their package is missing."""
    optimizer = values.get("optim", "")
    package = next((package for part, package in OPTIMIZER_PACKAGES.items() if part in optimizer), None)
    if package is None or importlib.util.find_spec(package) is not None:
        return
    if package == "bitsandbytes" and "adam" in optimizer:
        warned.append(
            f'optimizer "{optimizer}" needs the Python package {package}, which is not installed:'
            f' "{SUBSTITUTE}" is used instead'
        )
        values["optim"] = SUBSTITUTE
        return
    mistakes.add(
        f'optimizer "{optimizer}" needs the Python package {package}, which is not installed',
        hint=f'Use "{SUBSTITUTE}", or install the package for the runtime.',
        sqlstate=FEATURE_NOT_SUPPORTED,
    )


def check_precision(values: dict[str, Any], mistakes: Mistakes) -> None:
    """Refuse a precision that the device does not compute in."""
    import torch  # noqa: PLC0415  takes a second, and only those who tune need it

    half = [name for name in ("bf16", "fp16", "bf16_full_eval", "fp16_full_eval", "tf32") if values.get(name)]
    if not half:
        return
    gpu = torch.cuda.is_available() and not values.get("use_cpu")
    bfloat16 = torch.cuda.is_bf16_supported() if gpu else torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001
    for name in half:
        if (name.startswith("bf16") and not bfloat16) or (not name.startswith("bf16") and not gpu):
            mistakes.add(
                f'cannot use "{name}" in {OWNER}: {"the GPU" if gpu else "the processor"} does not support it',
                hint=f'Leave "{name}" out, to train in single precision.',
                sqlstate=FEATURE_NOT_SUPPORTED,
            )


def check_quantization(switches: dict[str, Any], values: dict[str, Any], warned: list[str]) -> None:
    """Warn where weights cannot be loaded in 8 or 4 bits."""
    from pgml.runtime.tuning.precision import (  # noqa: PLC0415  imports torch
        can_quantize,
        choose_precision,
    )

    asked = [name for name in ("load_in_4bit", "load_in_8bit") if switches.get(name)]
    use_cpu = bool(values.get("use_cpu"))
    if not asked or can_quantize(use_cpu=use_cpu):
        return
    dtype, _ = choose_precision(values, adapts=True)
    warned.append(
        f"{' and '.join(asked)} cannot be used here, which takes a GPU and the Python package bitsandbytes:"
        f" the weights are kept in {str(dtype).removeprefix('torch.')} instead"
    )
