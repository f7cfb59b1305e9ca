"""Conversations as models read them: checked, rendered by the model's chat template, turned into token ids.

Tuning and serving both go through here, so that a model is asked exactly as it was taught. Knows nothing of weights,
requests and tables; what it needs of transformers comes with the tokenizer it is given.
"""

from __future__ import annotations

from typing import Any

from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault, last_line
from pgml.runtime.nearest import nearest

Message = dict[str, str]

ROLES = ("assistant", "system", "tool", "user")
SHAREGPT_ROLES = {
    "chatgpt": "assistant",
    "function_call": "assistant",
    "function_response": "tool",
    "gpt": "assistant",
    "human": "user",
    "observation": "tool",
}
IM_END = "<|im_end|>"
CHATML = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
"""The template that a model without one of its own gets."""


def normalise(value: Any) -> list[Message]:
    """A conversation as `{"role", "content"}` messages, from these or from ShareGPT's `{"from", "value"}`."""
    if not isinstance(value, list):
        raise _invalid(f"a conversation must be an array of messages, not {_type_name(value)}")
    if not value:
        raise _invalid("a conversation must have a message at least")
    return [_message(message, f"message {number} of the conversation") for number, message in enumerate(value, 1)]


def ensure_chat_template(tokenizer: Any) -> bool:
    """Give ChatML to a tokenizer without a template, and say whether it was given."""
    if tokenizer.chat_template:
        return False
    template = CHATML
    # As plain text the end would be many tokens, and generation would not know it for an end: the model has a token.
    if tokenizer.eos_token and IM_END not in tokenizer.get_vocab():
        template = template.replace(f"'{IM_END}\\n'", "eos_token + '\\n'")
    if tokenizer.bos_token_id is not None and tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]:
        template = "{{- bos_token }}" + template
    tokenizer.chat_template = template
    return True


def render(
    tokenizer: Any,
    messages: list[Message],
    *,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
    chat_template: str | None = None,
) -> str:
    """The text of a conversation by the tokenizer's template, or by another one."""
    try:
        text = tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            chat_template=chat_template,
        )
    except Exception as error:  # a template is a program of the model's author, and raises what it likes
        raise RuntimeFault(
            "the chat template could not render the conversation",
            sqlstate=INVALID_PARAMETER_VALUE,
            detail=f"{last_line(error).rstrip('.')}.",
            hint="A template may want roles in a certain order, such as user and assistant by turns.",
        ) from error
    return str(text)


def encode(
    tokenizer: Any,
    messages: list[Message],
    *,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
    chat_template: str | None = None,
) -> list[int]:
    """The token ids of a rendered conversation."""
    text = render(
        tokenizer,
        messages,
        add_generation_prompt=add_generation_prompt,
        continue_final_message=continue_final_message,
        chat_template=chat_template,
    )
    return encode_rendered(tokenizer, text)


def encode_rendered(tokenizer: Any, text: str) -> list[int]:
    """The token ids of a text that a template rendered: what it says of the beginning is not said twice."""
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def end_of_turn(tokenizer: Any, chat_template: str | None = None) -> str:
    """The text that closes an answer, such as `<|im_end|>`: a generation that has written it is at its end.

    Empty for a template that closes answers by nothing but white space.
    """
    probe = "pgml probe"
    messages = [{"role": "user", "content": probe}, {"role": "assistant", "content": probe}]
    return render(tokenizer, messages, chat_template=chat_template).rpartition(probe)[2].strip()


def _message(message: Any, where: str) -> Message:
    if not isinstance(message, dict):
        raise _invalid(f"{where} must be an object, not {_type_name(message)}")
    role_key, content_key = ("from", "value") if "from" in message and "role" not in message else ("role", "content")
    for key in (role_key, content_key):
        if message.get(key) is None:
            raise _invalid(f'{where} has no "{key}"')
    role = message[role_key]
    if not isinstance(role, str):
        raise _invalid(f'"{role_key}" of {where} must be a string, not {_type_name(role)}')
    name = SHAREGPT_ROLES.get(role, role) if role_key == "from" else role
    if name not in ROLES:
        valid = [*ROLES, *SHAREGPT_ROLES] if role_key == "from" else ROLES
        close = nearest(role, valid)
        raise RuntimeFault(
            f'unknown role "{role[:40]}" in {where}',
            sqlstate=INVALID_PARAMETER_VALUE,
            hint=(f'Perhaps you meant "{close}". ' if close else "") + f"Roles are: {', '.join(sorted(valid))}.",
        )
    return {"role": name, "content": _content(message[content_key], content_key, where)}


def _content(value: Any, key: str, where: str) -> str:
    """The text of a message, which may also come in parts as OpenAI's clients send it."""
    if isinstance(value, list) and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in value):
        return "".join(part["text"] for part in value)
    if not isinstance(value, str):
        raise _invalid(f'"{key}" of {where} must be a string, not {_type_name(value)}')
    return value


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), type(value).__name__)


def _invalid(message: str) -> RuntimeFault:
    return RuntimeFault(
        message,
        sqlstate=INVALID_PARAMETER_VALUE,
        hint='A conversation is an array such as [{"role": "user", "content": "Hello"}].',
    )
