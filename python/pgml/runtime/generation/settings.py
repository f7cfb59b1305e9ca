"""The arguments of a request for text: names, types, ranges and defaults. Pure: knows nothing of models but their
generation_config, which says what the model's makers advise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.tasks.arguments import BOOLEAN, COUNT, STRING, Kind, check_arguments

MOST_SEQUENCES = 64
LARGEST_SEED = 2**63 - 1
ALIASES = {"max_new_tokens": "max_tokens", "num_return_sequences": "n", "stop_strings": "stop"}
"""Names that transformers uses, and ours."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen from the scores of all tokens; temperature 0 takes the most probable one."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0


@dataclass(frozen=True)
class Settings:
    """Everything a request says about the texts it wants."""

    sampling: Sampling
    max_tokens: int | None = None
    max_length: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int = 1
    choices: tuple[str, ...] = ()
    details: bool = False
    return_full_text: bool | None = None
    chat_template: str | None = None
    continue_final_message: bool = False


def _number(words: str, low: float, high: float = math.inf, *, above: bool = False) -> Kind:
    def accepts(value: Any) -> bool:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and (low < value if above else low <= value) and value <= high and math.isfinite(value)

    return Kind(words, accepts)


def _integer(words: str, low: int, high: int) -> Kind:
    return Kind(words, lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) and text for text in value)


ARGUMENTS: dict[str, Kind] = {
    "batch_size": COUNT,  # pipelines take it; here all requests share their batches
    "chat_template": STRING,
    "choices": Kind("an array of texts that are not empty", _is_texts),
    "continue_final_message": BOOLEAN,
    "details": BOOLEAN,
    "do_sample": BOOLEAN,
    "max_length": COUNT,
    "max_tokens": COUNT,
    "min_p": _number("a number from 0 to 1", 0, 1),
    "n": _integer(f"an integer from 1 to {MOST_SEQUENCES}", 1, MOST_SEQUENCES),
    "repetition_penalty": _number("a number above 0", 0, above=True),
    "return_full_text": BOOLEAN,
    "seed": _integer("an integer that is not negative", 0, LARGEST_SEED),
    "stop": Kind(
        "a text or an array of texts that are not empty",
        lambda value: (isinstance(value, str) and bool(value)) or value == [] or _is_texts(value),
    ),
    "temperature": _number("a number that is not negative", 0),
    "top_k": _integer("an integer that is not negative", 0, LARGEST_SEED),
    "top_p": _number("a number above 0 and at most 1", 0, 1, above=True),
}
KINDS = {**ARGUMENTS, **{alias: ARGUMENTS[name] for alias, name in ALIASES.items()}}
ONLY_FOR_CONVERSATIONS = ("chat_template", "continue_final_message")


def parse_settings(defaults: dict[str, Any], args: dict[str, Any], task: str) -> dict[str, Any]:
    """Check the arguments, which win over the defaults out of the task object; null is as good as absent.

    A task object holds what old clients put there, numbers and booleans as texts included.
    """
    defaults = {name: _plain(name, value) for name, value in defaults.items() if value is not None}
    args = {name: value for name, value in args.items() if value is not None}
    kinds = {n: kind for n, kind in KINDS.items() if task == "conversation" or n not in ONLY_FOR_CONVERSATIONS}
    check_arguments({**defaults, **args}, kinds, task)
    for alias, name in ALIASES.items():
        for given in (defaults, args):
            if alias in given and given.get(name, given[alias]) != given[alias]:
                raise RuntimeFault(f'"{alias}" and "{name}" contradict each other', sqlstate=INVALID_PARAMETER_VALUE)
            if alias in given:
                given[name] = given.pop(alias)
    return {**defaults, **args}


def make_settings(arguments: dict[str, Any], generation_config: Any) -> Settings:
    """The settings for checked arguments; the model's own configuration fills what they leave open."""
    stop = arguments.get("stop", [])
    return Settings(
        sampling=_sampling(arguments, generation_config),
        max_tokens=arguments.get("max_tokens"),
        max_length=arguments.get("max_length"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        seed=arguments.get("seed"),
        n=arguments.get("n", 1),
        choices=tuple(dict.fromkeys(arguments.get("choices", ()))),
        details=arguments.get("details", False),
        return_full_text=arguments.get("return_full_text"),
        chat_template=arguments.get("chat_template"),
        continue_final_message=arguments.get("continue_final_message", False),
    )


def _sampling(arguments: dict[str, Any], config: Any) -> Sampling:
    def value(name: str) -> Any:
        return arguments[name] if name in arguments else getattr(config, name, None)

    # An explicit wish to sample by some rule outweighs a model whose makers advise against sampling.
    wishes = arguments.keys() & {"temperature", "top_k", "top_p", "min_p", "do_sample"}
    greedy = arguments.get("do_sample") is False or (not wishes and getattr(config, "do_sample", None) is False)
    temperature = value("temperature")
    penalty = value("repetition_penalty") or 1.0
    if greedy or temperature == 0:
        return Sampling(temperature=0.0, repetition_penalty=penalty)
    top_p = value("top_p")
    return Sampling(
        temperature=1.0 if temperature is None else float(temperature),
        top_k=value("top_k") or None,
        top_p=None if top_p is None or top_p >= 1 else float(top_p),
        min_p=value("min_p") or None,
        repetition_penalty=penalty,
    )


def _plain(name: str, value: Any) -> Any:
    """A number or a boolean that was written as a text."""
    if not isinstance(value, str) or KINDS.get(name, STRING).accepts(value):
        return value
    words = {"true": True, "false": False}
    if value.strip().lower() in words:
        return words[value.strip().lower()]
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
