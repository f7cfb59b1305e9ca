"""Answer conversations with a chat model: one text per conversation, without the prompt.

Inputs are messages, which together are one conversation, or arrays of messages, or texts that a user says.
"""

from __future__ import annotations

from typing import Any

from pgml.runtime.conversations import encode, end_of_turn, normalise
from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.generation.sequences import Prompt
from pgml.runtime.generation.settings import Settings
from pgml.runtime.tasks import LoadedModel
from pgml.runtime.tasks.causal import attach, end_tokens, load, make_prompt

__all__ = ["attach", "load", "prompt", "read", "result"]

USUAL_TOKENS = 1000


def read(inputs: list[Any], arguments: dict[str, Any]) -> tuple[list[Any], bool]:
    """The conversations, null for null, and whether all inputs are one conversation."""
    given = [value for value in inputs if value is not None]
    if given and all(isinstance(value, dict) for value in given):
        return [_conversation(inputs, arguments)], True
    if not all(isinstance(value, (list, str)) for value in given):
        raise RuntimeFault(
            "inputs are neither messages, nor conversations, nor texts",
            sqlstate=INVALID_PARAMETER_VALUE,
            hint='A message is {"role": "user", "content": "…"}, and a conversation an array of messages.',
        )
    return [None if value is None else _conversation(value, arguments) for value in inputs], False


def prompt(model: LoadedModel, messages: list[dict[str, str]], settings: Settings) -> Prompt:
    """The prompt of a conversation."""
    template = settings.chat_template or model.extra.get("chat_template")
    tokens = encode(
        model.tokenizer,
        messages,
        add_generation_prompt=not settings.continue_final_message,
        continue_final_message=settings.continue_final_message,
        chat_template=template,
    )
    ends, stop = end_tokens(model), settings.stop
    end = _end_of_turn(model, template)
    if end in model.tokenizer.get_vocab():
        ends.add(model.tokenizer.convert_tokens_to_ids(end))
    elif end:
        stop = (*stop, end)
    shown = settings.continue_final_message
    return make_prompt(model, tokens, settings, USUAL_TOKENS, ends=frozenset(ends), stop=stop, shown=shown)


def result(answers: list[Any], item: Any, arguments: dict[str, Any]) -> Any:
    """The result for one conversation."""
    del item, arguments
    return answers[0] if len(answers) == 1 else answers


def _conversation(value: Any, arguments: dict[str, Any]) -> list[dict[str, str]]:
    messages = [{"role": "user", "content": value}] if isinstance(value, str) else normalise(value)
    ends_with_answer = messages[-1]["role"] == "assistant"
    if arguments.get("continue_final_message"):
        if not ends_with_answer:
            raise RuntimeFault(
                "continue_final_message needs a conversation that ends with a message of the assistant",
                sqlstate=INVALID_PARAMETER_VALUE,
            )
    elif ends_with_answer:
        raise RuntimeFault(
            "conversation ends with a message of the assistant",
            sqlstate=INVALID_PARAMETER_VALUE,
            hint="End it with a message of the user, or pass args => '{\"continue_final_message\": true}'"
            " to have the last message continued.",
        )
    return messages


def _end_of_turn(model: LoadedModel, template: str | None) -> str:
    try:
        return end_of_turn(model.tokenizer, template)
    except RuntimeFault:
        return ""  # a template that takes the conversation, but not the one that is tried to find the end
