"""Take the hyperparams of a request apart: which keys there are, of which shape. Knows nothing of their contents."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED
from pgml.runtime.mistakes import Mistakes, shown, type_name

OBJECTS = ("dataset_args", "tokenizer_args", "training_args")
SWITCHES = ("load_in_4bit", "load_in_8bit")
OTHERS = ("lora_config", "max_seq_length", "model_name", "project_name", "prompt_template", "revision")
TRUE_OR_FALSE = {"true": True, "false": False}
ONLY_CAUSAL = {
    "load_in_8bit": "only language models are loaded in 8 bits",
    "load_in_4bit": "only language models are loaded in 4 bits",
    "prompt_template": "texts are used as they are",
}


@dataclass
class Hyperparams:
    """What was given: three objects, and the other keys that say something."""

    dataset_args: dict[str, Any] = field(default_factory=dict)
    tokenizer_args: dict[str, Any] = field(default_factory=dict)
    training_args: dict[str, Any] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)


def read_hyperparams(
    header: dict[str, Any], task: str | None, *, causal: bool, mistakes: Mistakes, notices: list[str]
) -> Hyperparams:
    """The hyperparams of a request; `max_seq_length` becomes the tokenizer's `max_length`."""
    given = header.get("hyperparams")
    given = {} if given is None else given
    if not isinstance(given, dict):
        mistakes.add(f"hyperparams must be an object, not {type_name(given)}")
        given = {}
    mistakes.add_unknown(given.keys() - {"token"}, [*OBJECTS, *SWITCHES, *OTHERS], "hyperparams")
    _refuse(given, task, causal, mistakes)
    _compare_names(given, header, notices)
    objects = {key: _object(key, given.get(key), mistakes) for key in OBJECTS}
    if given.get("max_seq_length") is not None:
        if objects["tokenizer_args"].get("max_length") not in (None, given["max_seq_length"]):
            mistakes.add('"max_seq_length" and "max_length" in tokenizer_args are the same setting')
        objects["tokenizer_args"]["max_length"] = given["max_seq_length"]
    others: dict[str, Any] = {key: given[key] for key in ("lora_config",) if key in given}
    if given.get("revision") is not None:
        others["revision"] = given["revision"]  # of the base model; whoever found the model has looked at it
    if isinstance(others.get("lora_config"), str):
        others["lora_config"] = TRUE_OR_FALSE.get(others["lora_config"].lower(), others["lora_config"])
    if causal:
        others |= {key: True for key in SWITCHES if _switch(key, given.get(key), mistakes)}
        if given.get("prompt_template"):
            others["prompt_template"] = given["prompt_template"]
    return Hyperparams(**objects, others=others)


def _object(key: str, value: Any, mistakes: Mistakes) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        mistakes.add(f'"{key}" in hyperparams must be an object, not {type_name(value)}')
    return dict(value) if isinstance(value, dict) else {}


def _switch(key: str, value: Any, mistakes: Mistakes) -> bool:
    if isinstance(value, str):
        value = TRUE_OR_FALSE.get(value.strip().lower(), value)
    if value is None or isinstance(value, bool):
        return bool(value)
    mistakes.add(f'"{key}" in hyperparams must be true or false, not {shown(key, value)}')
    return False


def _refuse(given: dict[str, Any], task: str | None, causal: bool, mistakes: Mistakes) -> None:
    for key, reason in ONLY_CAUSAL.items():
        if task is not None and not causal and given.get(key) and str(given[key]).lower() != "false":
            mistakes.add(
                f'cannot use "{key}" for {task}: {reason}',
                hint=f'Leave "{key}" out of hyperparams.',
                sqlstate=FEATURE_NOT_SUPPORTED,
            )


def _compare_names(given: dict[str, Any], header: dict[str, Any], notices: list[str]) -> None:
    model = (header.get("adapter") or header.get("model") or {}).get("name")
    for key, argument in (("model_name", model), ("project_name", header.get("project"))):
        if argument is not None and given.get(key) not in (None, argument):
            notices.append(f'"{key}" in hyperparams is ignored, because the argument {key} says otherwise')
