"""Conversations: what is taken for one, and how a template renders it."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from pgml.runtime.conversations import (
    CHATML,
    encode,
    encode_rendered,
    end_of_turn,
    ensure_chat_template,
    normalise,
    render,
)
from pgml.runtime.errors import RuntimeFault

MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


@pytest.fixture
def bare(tiny_model):
    """A tokenizer without a chat template."""
    return AutoTokenizer.from_pretrained(tiny_model("llama"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (MESSAGES, MESSAGES),
        ([{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], MESSAGES),
        ([{"from": "system", "value": "Be kind"}], [{"role": "system", "content": "Be kind"}]),
        ([{"from": "observation", "value": "3"}], [{"role": "tool", "content": "3"}]),
        ([{"role": "user", "content": "Hi", "name": "Ann"}], MESSAGES[:1]),
        ([{"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]}], MESSAGES[:1]),
        ([{"role": "user", "content": ""}], [{"role": "user", "content": ""}]),
    ],
)
def test_what_is_taken_for_a_conversation(value, expected):
    assert normalise(value) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("Hi", "a conversation must be an array of messages, not string"),
        (None, "a conversation must be an array of messages, not null"),
        ({"role": "user", "content": "Hi"}, "a conversation must be an array of messages, not object"),
        ([], "a conversation must have a message at least"),
        ([*MESSAGES, "Hi"], "message 3 of the conversation must be an object, not string"),
        ([{"content": "Hi"}], 'message 1 of the conversation has no "role"'),
        ([{"role": "user"}], 'message 1 of the conversation has no "content"'),
        ([{"role": "user", "content": None}], 'message 1 of the conversation has no "content"'),
        ([{"from": "human"}], 'message 1 of the conversation has no "value"'),
        ([{"role": 7, "content": "Hi"}], '"role" of message 1 of the conversation must be a string, not number'),
        ([{"role": "user", "content": 7}], '"content" of message 1 of the conversation must be a string, not number'),
        ([{"role": "human", "content": "Hi"}], 'unknown role "human" in message 1 of the conversation'),
        ([{"role": "asistant", "content": "Hi"}], 'unknown role "asistant" in message 1 of the conversation'),
    ],
)
def test_what_is_not_taken(value, message):
    with pytest.raises(RuntimeFault) as caught:
        normalise(value)
    assert (caught.value.sqlstate, caught.value.message) == ("22023", message)
    assert caught.value.hint.endswith(".")


def test_a_misspelt_role_is_offered_the_nearest():
    with pytest.raises(RuntimeFault) as caught:
        normalise([{"role": "asistant", "content": "Hi"}])
    assert caught.value.hint.startswith('Perhaps you meant "assistant".')


def test_a_model_without_a_template_gets_chatml_that_ends_in_its_own_token(bare):
    assert ensure_chat_template(bare)
    assert render(bare, MESSAGES) == "<|im_start|>user\nHi</s>\n<|im_start|>assistant\nHello</s>\n"
    assert render(bare, MESSAGES[:1], add_generation_prompt=True).endswith("Hi</s>\n<|im_start|>assistant\n")
    assert end_of_turn(bare) == "</s>"
    assert not ensure_chat_template(bare), "it has one now"


def test_chatml_keeps_its_tokens_where_the_vocabulary_has_them(bare):
    bare.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    ensure_chat_template(bare)
    assert bare.chat_template == CHATML
    assert end_of_turn(bare) == "<|im_end|>"
    assert bare.convert_ids_to_tokens(encode(bare, MESSAGES)).count("<|im_end|>") == 2


def test_without_an_end_token_the_markers_are_plain_text(bare):
    bare.eos_token = None
    ensure_chat_template(bare)
    assert render(bare, MESSAGES).endswith("assistant\nHello<|im_end|>\n")


def test_a_template_of_the_model_is_left_alone(bare):
    bare.chat_template = "{{ messages[0]['content'] }}"
    assert not ensure_chat_template(bare)
    assert render(bare, MESSAGES) == "Hi"
    assert render(bare, MESSAGES, chat_template="{{ messages | length }}") == "2"


def test_a_beginning_that_the_tokenizer_adds_is_rendered_once(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("bert"))
    tokenizer.add_special_tokens({"bos_token": "[CLS]"})
    ensure_chat_template(tokenizer)
    ids = encode(tokenizer, MESSAGES)
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids[0] == tokenizer.bos_token_id


def test_tokens_say_the_text(bare):
    ensure_chat_template(bare)
    text = render(bare, MESSAGES)
    assert encode(bare, MESSAGES) == encode_rendered(bare, text)
    assert bare.decode(encode(bare, MESSAGES)) == text


def test_an_answer_is_continued(bare):
    ensure_chat_template(bare)
    assert render(bare, MESSAGES, continue_final_message=True).endswith("<|im_start|>assistant\nHello")


@pytest.mark.parametrize(
    ("template", "detail"),
    [
        ("{{ raise_exception('Only user and assistant roles are supported!') }}", "Only user and assistant roles"),
        ("{{ messages[0]['content'] ", "TemplateSyntaxError"),
        ("{{ messages[7]['content'] + 'x' }}", "UndefinedError"),
    ],
)
def test_a_template_that_fails(bare, template, detail):
    with pytest.raises(RuntimeFault) as caught:
        render(bare, MESSAGES, chat_template=template)
    assert (caught.value.sqlstate, caught.value.message) == (
        "22023",
        "the chat template could not render the conversation",
    )
    assert detail in caught.value.detail
