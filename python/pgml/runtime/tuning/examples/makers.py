"""Turn one row of a causal language model's task into an example: token ids, and which of them are trained.

Knows tokenizers and one row at a time; knows nothing of files, models and batches.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pgml.runtime.conversations import Message, normalise, render
from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.tuning.examples.answer_spans import Span, answer_spans
from pgml.runtime.tuning.examples.prompt_template import EOS, PromptTemplate

Row = dict[str, str | None]
IGNORED = -100
"""The label of a token that is not trained, as everywhere in torch."""


@dataclass
class Example:
    """Token ids and labels: the same ids where they are trained, IGNORED elsewhere."""

    ids: list[int]
    labels: list[int]
    was_cut: bool = False

    @property
    def is_trained(self) -> bool:
        """Whether any token is trained: the first one cannot be, nothing comes before it."""
        return any(label != IGNORED for label in self.labels[1:])

    @property
    def prompt_length(self) -> int:
        """The tokens before the last run of trained ones: what a model would be asked with."""
        end = len(self.labels)
        while end and self.labels[end - 1] == IGNORED:
            end -= 1
        while end and self.labels[end - 1] != IGNORED:
            end -= 1
        return end


class TooLong(Exception):
    """An example has more tokens than fit, and is not to be cut."""

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length


@dataclass(frozen=True)
class Limits:
    """How many tokens an example may have, and what to do with more: `truncate`, `split`, or raise TooLong."""

    max_length: int
    on_overflow: str = "truncate"


Maker = Callable[[Row], list[Example]]


def conversation_maker(tokenizer: Any, limits: Limits) -> Maker:
    """Examples of conversations, by the tokenizer's chat template; every answer is trained."""

    def make(row: Row) -> list[Example]:
        messages = messages_of(row)
        # Nothing is learned from what comes after the last answer.
        while messages and messages[-1]["role"] != "assistant":
            messages.pop()
        return [_fit_conversation(tokenizer, messages, limits)] if messages else []

    return make


def prompt_maker(tokenizer: Any, template: PromptTemplate, columns: dict[str, str], limits: Limits) -> Maker:
    """Examples of a filled template; trained is what stands from the completion's place on.

    `columns` are those of `dataset_args`: {prompt} and {completion} in the template may stand for them.
    """
    column = {name: columns.get(f"{name}_column", name) for name in template.columns}
    last = columns["completion_column"]
    position = next(number for number, name in enumerate(template.names) if column.get(name) == last)

    def make(row: Row) -> list[Example]:
        values = {name: row.get(name) or row.get(f"field:{column[name]}") or "" for name in column}
        values[EOS] = tokenizer.eos_token or ""
        prompt, answer = template.fill(values, 0, position), template.fill(values, position)
        if EOS not in template.names:
            answer += values[EOS]
        example = _encode(tokenizer, prompt + answer, [(len(prompt), len(prompt) + len(answer))], special=True)
        return [_cut_left(example, tokenizer, limits)]

    return make


def text_maker(tokenizer: Any, limits: Limits) -> Maker:
    """Examples of plain text: all of it is trained, and a long text gives several examples if it is to be split."""

    def make(row: Row) -> list[Example]:
        ids = list(tokenizer(row["text"] or "").input_ids)
        if tokenizer.eos_token_id is not None and ids[-1:] != [tokenizer.eos_token_id]:
            ids.append(tokenizer.eos_token_id)
        size = limits.max_length
        if len(ids) <= size:
            return [Example(ids, ids)]
        if limits.on_overflow == "truncate":
            return [Example(ids[:size], ids[:size], was_cut=True)]
        if limits.on_overflow == "split":
            parts = [ids[start : start + size] for start in range(0, len(ids), size)]
            return [Example(part, part) for part in parts]
        raise TooLong(len(ids))

    return make


def messages_of(row: Row) -> list[Message]:
    """The conversation of a row, from its JSON or from a column per role."""
    if "messages" in row:
        return parse_messages(row["messages"] or "")
    roles = ("system", "user", "assistant")
    # A row without a system message is like a conversation without one.
    return [{"role": role, "content": row[role] or ""} for role in roles if (row.get(role) or "").strip()]


def parse_messages(text: str) -> list[Message]:
    """A conversation from JSON."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise RuntimeFault(
            "messages are not valid JSON", sqlstate=INVALID_PARAMETER_VALUE, detail=f"{error}."
        ) from error
    return normalise(value)


def _fit_conversation(tokenizer: Any, messages: list[Message], limits: Limits) -> Example:
    example = _encode_conversation(tokenizer, messages)
    if len(example.ids) <= limits.max_length:
        return example
    if limits.on_overflow != "truncate":
        raise TooLong(len(example.ids))
    # The oldest turns matter least to the last answer, and a shorter conversation is still a whole one.
    while len(example.ids) > limits.max_length and (shorter := _without_oldest_turn(messages)):
        messages = shorter
        example = _encode_conversation(tokenizer, messages)
        example.was_cut = True
    return _cut_left(example, tokenizer, limits)


def _without_oldest_turn(messages: list[Message]) -> list[Message] | None:
    """The conversation without its first user message and what answers it; None if there is only one."""
    first = 1 if messages[0]["role"] == "system" else 0
    later = [number for number in range(first + 1, len(messages)) if messages[number]["role"] == "user"]
    return [*messages[:first], *messages[later[0] :]] if later else None


def _cut_left(example: Example, tokenizer: Any, limits: Limits) -> Example:
    excess = len(example.ids) - limits.max_length
    if excess <= 0:
        return example
    if limits.on_overflow != "truncate":
        raise TooLong(len(example.ids))
    # A model that expects a first token of its own still gets it.
    kept = 1 if example.ids[0] == tokenizer.bos_token_id and limits.max_length > 1 else 0
    cut = slice(kept + excess, None)
    return Example(example.ids[:kept] + example.ids[cut], [IGNORED] * kept + example.labels[cut], was_cut=True)


def _encode_conversation(tokenizer: Any, messages: list[Message]) -> Example:
    text = render(tokenizer, messages)
    return _encode(tokenizer, text, answer_spans(tokenizer, messages, text), special=False)


def _encode(tokenizer: Any, text: str, spans: list[Span], *, special: bool) -> Example:
    """Tokens that begin within a span are trained, those that the tokenizer adds are not."""
    encoded = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True, return_special_tokens_mask=True)
    labels, previous = [], 0
    added = encoded.special_tokens_mask if special else [0] * len(encoded.input_ids)
    for token, (start, end), is_added in zip(encoded.input_ids, encoded.offset_mapping, added, strict=True):
        # Some tokenizers leave white space out of a token's place; of a token of spaces nothing but its end remains.
        begin = previous if start == end else start
        previous = max(previous, end)
        trained = not is_added and any(first <= begin < last for first, last in spans)
        labels.append(token if trained else IGNORED)
    return Example(list(encoded.input_ids), labels)
