"""Find the answers in a conversation that a chat template rendered: where each assistant turn begins and ends.

Works by rendering, so that a template needs no marks of its own. Knows no rows and no files.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pgml.runtime.conversations import Message, end_of_turn, render
from pgml.runtime.errors import FEATURE_NOT_SUPPORTED, RuntimeFault

Span = tuple[int, int]
PROBE = "pgml0answer0probe"


def answer_spans(tokenizer: Any, messages: list[Message], text: str) -> list[Span]:
    """The part of the rendered text that the model is to write, for each assistant turn: from where the prompt that
    asks for it ends, up to and with the token that ends the turn.
    """
    end = _end_of_turn(tokenizer, tokenizer.chat_template)
    numbers = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    return [_span(tokenizer, messages, number, text, end) for number in numbers]


def _span(tokenizer: Any, messages: list[Message], number: int, text: str, end: str) -> Span:
    prompt = render(tokenizer, messages[:number], add_generation_prompt=True) if number else ""
    start = len(prompt) if text.startswith(prompt) else None
    if start is not None:
        through = render(tokenizer, messages[: number + 1])
        # White space after the turn is written by the template, not by the model; unless nothing else ends the turn.
        through = through.rstrip() if end else through
        if text.startswith(through) and through.endswith(end) and start <= len(through):
            return start, len(through)
    # The template writes a turn otherwise when others follow it: leaves out its thoughts, moves the system message.
    before, found, after = _with_probe(tokenizer, messages, number)
    if found and text.startswith(before) and text.endswith(after) and len(before) + len(after) <= len(text):
        last = len(text) - len(after) + _length_of_end(after, end, tokenizer)
        return (start if start is not None and start <= len(before) else len(before)), last
    raise RuntimeFault(
        f"cannot tell where the answer in message {number + 1} begins and ends",
        sqlstate=FEATURE_NOT_SUPPORTED,
        detail="The chat template of the model changes it depending on other messages.",
        hint="Give each conversation one answer, its last message, or set prompt_template.",
    )


def _with_probe(tokenizer: Any, messages: list[Message], number: int) -> tuple[str, str, str]:
    """The conversation around an answer: rendered with another in its place, and split there."""
    changed = [*messages[:number], {"role": "assistant", "content": PROBE}, *messages[number + 1 :]]
    before, found, after = render(tokenizer, changed).partition(PROBE)
    return before, found if PROBE not in after else "", after


def _length_of_end(after: str, end: str, tokenizer: Any) -> int:
    """How much of what follows an answer ends its turn."""
    space = len(after) - len(after.lstrip())
    if end and after.startswith(end, space):
        return space + len(end)
    # Some templates end the last turn with another token than those before it.
    special = [token for token in tokenizer.all_special_tokens if after.startswith(token, space)]
    if special:
        return space + max(map(len, special))
    return space if not end else 0


@lru_cache(maxsize=8)
def _end_of_turn(tokenizer: Any, _template: str) -> str:
    return end_of_turn(tokenizer)
