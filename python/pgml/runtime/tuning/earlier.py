"""What a model that was tuned before brings along when it is tuned on: its adapter's settings, and its tokenizer's.

Reads small files of directories; knows no weights and no training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED, INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.mistakes import Mistakes, shown
from pgml.runtime.serving.directories import ADAPTER_CONFIG, pgml_settings, read_json
from pgml.runtime.tuning.arguments.lora_args import DEFAULTS, OWNER, check_lora, given_lora, lora_defaults

KINDS = {True: ("CAUSAL_LM", "conversation and text-generation"), False: ("SEQ_CLS", "classification")}


@dataclass(frozen=True)
class Adapter:
    """An adapter that is to be tuned on, and the name of its base."""

    name: str
    path: str
    base: str

    @classmethod
    def of(cls, header: dict[str, Any]) -> Adapter | None:
        """That of a request, whose model is the base then."""
        given = header.get("adapter")
        return cls(given["name"], given["path"], header["model"]["name"]) if given else None


def keep_lora(given: dict[str, Any], adapter: Adapter, *, causal: bool, mistakes: Mistakes) -> dict[str, Any]:
    """The settings of the adapter; others cannot be given. `given` are the hyperparams."""
    stored = _stored(adapter, mistakes, causal=causal)
    config = given.get(OWNER)
    if OWNER in given and not config and config != {}:  # null or false
        mistakes.add(
            f'adapter "{adapter.name}" cannot be tuned whole: it is trained on a base model that stays as it is',
            hint=f'Leave out "{OWNER}", or name the base model, "{adapter.base}", to tune all of that.',
            sqlstate=FEATURE_NOT_SUPPORTED,
        )
    elif config:
        defaults = lora_defaults()
        for name, value in given_lora(config, mistakes).items():
            own = stored.get(name, defaults.get(name))
            if not _is_same(value, own):
                mistakes.add(
                    f'"{name}" in {OWNER} is {shown(name, own)} in adapter "{adapter.name}", not {shown(name, value)}',
                    hint=f'Leave it out, or name the base model, "{adapter.base}", to have another adapter trained.',
                )
    return stored


def keep_tokenizer_args(given: dict[str, Any], directory: str | None, task: str | None) -> dict[str, Any]:
    """What is given, and what a model that was tuned for the same task was tuned with."""
    settings = pgml_settings(directory, directory) if directory else {}
    return {**settings["tokenizer_args"], **given} if settings.get("task") == task and task else given


def check_labels(path: str, labels: list[str]) -> None:
    """Refuse rows of other labels than an adapter gives: its head has a place for each of its own."""
    own = pgml_settings(path, path).get("labels")
    if own is None or sorted(own) != labels:
        raise RuntimeFault(
            "the rows have other labels than the adapter that is tuned on",
            sqlstate=INVALID_PARAMETER_VALUE,
            detail=f"The rows have {_some(labels)}; the adapter has {_some(own or ['names that it does not tell'])}.",
            hint="Name its base model instead, to have an adapter trained for these labels.",
        )


def _stored(adapter: Adapter, mistakes: Mistakes, *, causal: bool) -> dict[str, Any]:
    config = read_json(Path(adapter.path, ADAPTER_CONFIG), adapter.name)
    kind, tasks = KINDS[causal]
    if config.get("peft_type") != "LORA":
        mistakes.add(
            f'adapter "{adapter.name}" is of type {config.get("peft_type")}, and only LORA can be tuned on',
            hint=f'Name its base model, "{adapter.base}", to have another adapter trained.',
            sqlstate=FEATURE_NOT_SUPPORTED,
        )
    if config.get("task_type", kind) != kind:
        mistakes.add(
            f'adapter "{adapter.name}" is of type {config["task_type"]}, and cannot be tuned for {tasks}',
            hint=f'Name its base model, "{adapter.base}", to have another adapter trained.',
            sqlstate=FEATURE_NOT_SUPPORTED,
        )
    defaults = lora_defaults()
    said = {name: value for name, value in config.items() if name in DEFAULTS or value != defaults.get(name, value)}
    return check_lora(said, mistakes)


def _is_same(given: Any, own: Any) -> bool:
    if isinstance(given, list) and isinstance(own, list):
        return sorted(map(str, given)) == sorted(map(str, own))
    # What "all-linear" stood for was written out when the adapter was made.
    return bool(given in (own, "all-linear"))


def _some(labels: list[str]) -> str:
    return ", ".join(labels[:5]) + (", …" if len(labels) > 5 else "")
