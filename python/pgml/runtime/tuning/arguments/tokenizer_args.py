"""Check `tokenizer_args`: what limits the length of a text above all. Knows a base model's tokenizer and no rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pgml.runtime.mistakes import Mistakes, shown
from pgml.runtime.redaction import is_secret_key
from pgml.runtime.tuning.base_model import BaseModel

TRUNCATIONS = ("do_not_truncate", "longest_first", "only_first", "only_second")
DEFAULT_LENGTH = 1024
"""Tokens of an example of a causal language model, where the model takes more: what scripts of TRL are used to. Few
conversations are longer, and memory for a step grows with the longest of them."""


def check_tokenizer_args(
    given: dict[str, Any], base: BaseModel | None, *, causal: bool, mistakes: Mistakes, notices: list[str]
) -> dict[str, Any]:
    """The arguments that have an effect; what is wrong goes to `mistakes`."""
    from pgml.runtime.tasks.text_classification import (  # noqa: PLC0415  imports transformers
        TOKENIZER_ARGS,
        TRUNCATION_SIDES,
        max_length,
    )

    mistakes.add_unknown(given, TOKENIZER_ARGS, "tokenizer_args")
    expected: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "add_special_tokens": ("true or false", lambda value: isinstance(value, bool)),
        "max_length": ("a positive whole number", lambda value: type(value) is int and value > 0),
        "padding": ("true, false or a string", lambda value: isinstance(value, (bool, str))),
        "truncation": (
            f"true, false or one of {', '.join(TRUNCATIONS)}",
            lambda v: isinstance(v, bool) or v in TRUNCATIONS,
        ),
        "truncation_side": (" or ".join(TRUNCATION_SIDES), lambda value: value in TRUNCATION_SIDES),
    }
    given = {key: value for key, value in given.items() if value is not None}
    wrong = [key for key, (_, fits) in expected.items() if key in given and not fits(given[key])]
    for key in wrong:
        mistakes.add(f'"{key}" in tokenizer_args must be {expected[key][0]}, not {shown(key, given[key])}')
    if given.pop("padding", None) not in (None, True, "longest"):
        notices.append("padding in tokenizer_args is without effect: a batch is padded to its longest text")
    if base is not None and "max_length" not in wrong:
        limit = max_length(base.tokenizer, base.config)
        if given.get("max_length", 0) > limit:
            notices.append(f"max_length is {limit}, the longest text that the model takes, not {given['max_length']}")
        if causal:
            given["max_length"] = min(limit, given.get("max_length", DEFAULT_LENGTH))
    if causal:
        without = sorted(given.keys() & {"add_special_tokens", "truncation", "truncation_side"})
        if without:
            notices.append(f"tokenizer_args without effect: {', '.join(without)}; on_overflow says what is cut")
        given = {key: value for key, value in given.items() if key not in without}
    return {key: value for key, value in given.items() if not is_secret_key(key)}
