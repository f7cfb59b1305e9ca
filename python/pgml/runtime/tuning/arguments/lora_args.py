"""Decide whether a job adapts a model or trains all of it, and check `lora_config`. Knows no rows and no training."""

from __future__ import annotations

import copy
import dataclasses
import json
import struct
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED
from pgml.runtime.mistakes import Mistakes, shown, type_name
from pgml.runtime.tuning.arguments.coerce import Unfit, coerce

OWNER = "lora_config"
DEFAULT_LIMIT = 200
"""Millions of parameters: the default of pgml.full_tuning_limit."""
DEFAULTS: dict[str, Any] = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
# Taken, because scripts have them, and without effect: they follow from the task and from what is stored.
IGNORED = (
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "peft_type",
    "peft_version",
    "revision",
    "task_type",
)
REFUSED = {
    "alora_invocation_tokens": "an adapter is used from the first token on",
    "arrow_config": "only one adapter is used at a time",
    "layer_replication": "the base model is shared with other adapters",
    "megatron_config": "a job trains in one process",
    **dict.fromkeys(
        ("corda_config", "eva_config", "loftq_config", "lora_ga_config"), "it prepares weights from data beforehand"
    ),
}
RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "r": ("1 or more", lambda value: value >= 1),
    "lora_alpha": ("1 or more", lambda value: value >= 1),
    "lora_dropout": ("at least 0 and below 1", lambda value: 0 <= value < 1),
}
CHANGES_BASE = ("corda", "eva", "loftq", "lora_ga", "mica", "olora", "pissa")
"""Ways of `init_lora_weights` that change the base model's weights, or need data."""


def choose_lora(given: dict[str, Any], directory: str, limit: Any, mistakes: Mistakes) -> dict[str, Any] | None:
    """Settings of the adapter, or None for full tuning. `given` are the hyperparams."""
    quantized = bool(given.get("load_in_8bit") or given.get("load_in_4bit"))
    config = given.get(OWNER)
    if OWNER in given and not config and config != {}:  # null or false
        if quantized:
            mistakes.add(
                "weights in 8 or 4 bits cannot be trained themselves",
                hint='Leave out "load_in_8bit" and "load_in_4bit", or have an adapter trained with "lora_config".',
            )
        return None
    if OWNER not in given:
        allowed = limit if isinstance(limit, (int, float)) else DEFAULT_LIMIT
        return dict(DEFAULTS) if quantized or count_stored_parameters(directory) > allowed * 1_000_000 else None
    return check_lora(config, mistakes)


def count_stored_parameters(directory: str) -> int:
    """Parameters in the safetensors files of a directory, from their headers alone."""
    return sum(_count(path) for path in Path(directory).glob("*.safetensors"))


def _count(path: Path) -> int:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    count = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            size = 1
            for extent in tensor["shape"]:
                size *= extent
            count += size
    return count


def check_lora(given: Any, mistakes: Mistakes) -> dict[str, Any]:
    """Settings of an adapter: what is given, and defaults."""
    values = given_lora(given, mistakes)
    rank = values.get("r", DEFAULTS["r"])
    # Twice the rank, as in the defaults, keeps the size of a step when only the rank is given.
    defaults = {**DEFAULTS, "lora_alpha": 2 * rank}
    return {**defaults, **values, "target_modules": values.get("target_modules") or DEFAULTS["target_modules"]}


def given_lora(given: Any, mistakes: Mistakes) -> dict[str, Any]:
    """What is given, of the right types; what is wrong goes to `mistakes`."""
    if not isinstance(given, dict):
        mistakes.add(f'"{OWNER}" in hyperparams must be an object, not {type_name(given)}')
        return {}
    fields = _fields()
    mistakes.add_unknown(given, fields, OWNER)
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in fields or name in IGNORED:
            continue
        if name in REFUSED:
            if value:
                mistakes.add(f'cannot use "{name}" in {OWNER}: {REFUSED[name]}', sqlstate=FEATURE_NOT_SUPPORTED)
            continue
        try:
            values[name] = _value(name, value, fields[name])
        except Unfit as unfit:
            mistakes.add(f'"{name}" in {OWNER} must be {unfit}, not {shown(name, value)}', hint=unfit.hint)
    _check_values(values, mistakes)
    return values


def lora_defaults() -> dict[str, Any]:
    """What peft takes for settings that an adapter's file does not have, or has as they are always."""
    from peft import LoraConfig  # noqa: PLC0415  as below

    defaults = LoraConfig().to_dict()  # type: ignore[no-untyped-call]  # of peft
    return {name: value for name, value in defaults.items() if name not in IGNORED}


def _value(name: str, value: Any, field: dataclasses.Field[Any]) -> Any:
    # Which of the ways there are is checked below, where those that cannot be used are known.
    if name == "init_lora_weights" and isinstance(value, str) and value.lower() not in ("true", "false"):
        return value
    if name == "layers_to_transform" and isinstance(value, list) and all(type(item) is int for item in value):
        return value
    if name == "bias" and value in ("none", "all", "lora_only"):
        return value
    if name == "bias":
        raise Unfit("one of all, lora_only, none")
    return coerce(value, field)


def _check_values(values: dict[str, Any], mistakes: Mistakes) -> None:
    for name, (words, fits) in RULES.items():
        if name in values and not fits(values[name]):
            mistakes.add(f'"{name}" in {OWNER} must be {words}, not {shown(name, values[name])}')
    way = values.get("init_lora_weights")
    if isinstance(way, str) and way.startswith(CHANGES_BASE):
        mistakes.add(
            f'cannot use "init_lora_weights": "{way}" in {OWNER}: it changes the base model, which is not stored',
            hint='Use true, "gaussian" or "orthogonal".',
            sqlstate=FEATURE_NOT_SUPPORTED,
        )
    elif isinstance(way, str) and way not in ("gaussian", "orthogonal"):
        mistakes.add(
            f'"init_lora_weights" in {OWNER} must be true, false, "gaussian" or "orthogonal", not {shown("", way)}'
        )


def _fields() -> dict[str, dataclasses.Field[Any]]:
    from peft import LoraConfig  # noqa: PLC0415  takes seconds, and only those who adapt need it

    hints = typing.get_type_hints(LoraConfig)
    fields = {}
    for field in dataclasses.fields(LoraConfig):
        fields[field.name] = copy.copy(field)
        fields[field.name].type = hints[field.name]  # annotations of that module are strings
    return fields
