"""Continue texts: for each text the list of its continuations, as transformers' pipeline gives them."""

from __future__ import annotations

from typing import Any

from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.generation.sequences import Prompt
from pgml.runtime.generation.settings import Settings
from pgml.runtime.tasks import LoadedModel
from pgml.runtime.tasks.causal import attach, end_tokens, load, make_prompt

__all__ = ["attach", "load", "prompt", "read", "result"]

USUAL_TOKENS = 256


def read(inputs: list[Any], arguments: dict[str, Any]) -> tuple[list[Any], bool]:
    """The texts, null for null."""
    del arguments
    for value in inputs:
        if value is not None and not isinstance(value, str):
            raise RuntimeFault(
                "input for text-generation is not a text",
                sqlstate=INVALID_PARAMETER_VALUE,
                hint="Messages are for the task conversation.",
            )
    return inputs, False


def prompt(model: LoadedModel, text: str, settings: Settings) -> Prompt:
    """The prompt of a text."""
    tokens = list(model.tokenizer(text).input_ids)
    if not tokens:  # an empty text begins as all texts do
        tokens = [next((t for t in (model.tokenizer.bos_token_id, *end_tokens(model)) if t is not None), 0)]
    ends = frozenset(end_tokens(model))
    return make_prompt(model, tokens, settings, USUAL_TOKENS, ends=ends, stop=settings.stop, shown=True)


def result(answers: list[Any], item: Any, arguments: dict[str, Any]) -> Any:
    """The result for one text."""
    before = item if arguments.get("return_full_text", True) else ""
    return [_with_key(answer, before) for answer in answers]


def _with_key(answer: Any, before: str) -> dict[str, Any]:
    if isinstance(answer, str):
        return {"generated_text": before + answer}
    text = answer.pop("text")
    return {"generated_text": before + text, **answer}
