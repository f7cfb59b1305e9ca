"""Which tokens of a conversation are trained, told token by token for templates of many habits."""

from __future__ import annotations

import json

import pytest
from transformers import AutoTokenizer

from pgml.runtime.conversations import ensure_chat_template, render
from pgml.runtime.errors import RuntimeFault
from pgml.runtime.tuning.examples.answer_spans import answer_spans
from pgml.runtime.tuning.examples.makers import IGNORED, Limits, conversation_maker

TALK = [
    {"role": "user", "content": "Hi  "},
    {"role": "assistant", "content": "Hello, you."},
    {"role": "user", "content": "Hello, you."},
    {"role": "assistant", "content": "Bye"},
]
SYSTEM = {"role": "system", "content": "Be kind."}

CHATML = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
ASKS = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
OWN_SYSTEM = "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are tiny<|im_end|>\n' }}{% endif %}"
WORDS = """{% for m in messages %}{{ ('Q: ' if m.role == 'user' else 'A: ') + m.content + '\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ 'A: ' }}{% endif %}"""
MOVES = """{% for m in messages if m.role != 'system' %}{{ '[INST] ' if m.role == 'user' }}
{%- if loop.revindex0 <= 1 and m.role == 'user' and messages[0].role == 'system' %}{{ messages[0].content + ' ' }}
{%- endif %}{{ m.content }}{{ ' [/INST] ' if m.role == 'user' else '<|im_end|>' }}{% endfor %}"""
OTHER_END = """{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}
{{- '<|im_end|>' if loop.last else '<|endoftext|>' }}{% endfor %}"""
THOUGHTS = """{% for m in messages %}{% set c = m.content.split('</think>')[-1] if not loop.last else m.content %}
{{- '<|im_start|>' + m.role + '\n' + c + '<|im_end|>\n' }}{% endfor %}"""

ANSWERS = ["Hello, you.<|im_end|>", "Bye<|im_end|>"]
TEMPLATES = {
    "chatml": (CHATML + ASKS, ANSWERS),
    # The model has to write the head of its turn itself, as it is never given.
    "never asks": (CHATML, [f"<|im_start|>assistant\n{answer}" for answer in ANSWERS]),
    "own system message": (OWN_SYSTEM + CHATML + ASKS, ANSWERS),
    "trims": (CHATML.replace("m.content", "m.content|trim") + ASKS, ANSWERS),
    "plain words": (WORDS, ["Hello, you.\n", "Bye\n"]),
    "system message moves to the last question": (MOVES, ANSWERS),
    "another end for the last turn": (OTHER_END + ASKS, ["Hello, you.<|endoftext|>", "Bye<|im_end|>"]),
    "thoughts of earlier turns are left out": (THOUGHTS + ASKS, ANSWERS),
}


@pytest.fixture
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model("llama-chat"))


def trained(tokenizer, messages):
    text = render(tokenizer, messages)
    return [text[start:end] for start, end in answer_spans(tokenizer, messages, text)]


@pytest.mark.parametrize("system", [False, True])
@pytest.mark.parametrize("name", TEMPLATES)
def test_answers_are_found_with_what_ends_their_turn(tokenizer, name, system):
    tokenizer.chat_template, expected = TEMPLATES[name]
    assert trained(tokenizer, [SYSTEM, *TALK] if system else TALK) == expected


def test_left_out_thoughts_are_not_looked_for_and_the_last_are_trained(tokenizer):
    tokenizer.chat_template = TEMPLATES["thoughts of earlier turns are left out"][0]
    talk = [dict(message) for message in TALK]
    talk[1]["content"] = "<think>hm</think>Hello, you."
    talk[3]["content"] = "<think>well</think>Bye"
    assert trained(tokenizer, talk) == ["Hello, you.<|im_end|>", "<think>well</think>Bye<|im_end|>"]


def test_an_answer_that_repeats_the_question_is_found_in_its_own_place(tokenizer):
    talk = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "ab"}]
    text = render(tokenizer, talk)
    assert answer_spans(tokenizer, talk, text) == [(text.rindex("ab"), text.rindex("<|im_end|>") + len("<|im_end|>"))]


def test_a_conversation_may_begin_with_an_answer(tokenizer):
    assert trained(tokenizer, TALK[1:2]) == ["<|im_start|>assistant\nHello, you.<|im_end|>"]


def test_a_template_that_hides_its_answers_is_an_error(tokenizer):
    tokenizer.chat_template = "{{ messages | length }}{% for m in messages %}{{ m.content | upper }}{% endfor %}"
    with pytest.raises(RuntimeFault, match="cannot tell where the answer in message 2 begins") as caught:
        trained(tokenizer, TALK)
    assert caught.value.sqlstate == "0A000"


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_mask_token_by_token(tokenizer, name):
    """Each token is trained if its first character is in an answer: checked against the text of each token."""
    tokenizer.chat_template, expected = TEMPLATES[name]
    (example,) = conversation_maker(tokenizer, Limits(512))({"messages": json.dumps(TALK)})
    runs, current = [], []
    for token, label in zip(example.ids, example.labels, strict=True):
        assert label in (token, IGNORED)
        if label == IGNORED:
            runs, current = ([*runs, current] if current else runs), []
        else:
            current.append(token)
    runs += [current] if current else []
    assert [tokenizer.decode(run) for run in runs] == expected
    assert tokenizer.decode(example.ids) == render(tokenizer, TALK)


def test_characters_of_several_tokens_and_spaces_are_trained_whole(tokenizer):
    talk = [{"role": "user", "content": "é"}, {"role": "assistant", "content": "  您好 👋  "}]
    (example,) = conversation_maker(tokenizer, Limits(512))({"messages": json.dumps(talk)})
    kept = [label for label in example.labels if label != IGNORED]
    assert tokenizer.decode(kept) == "  您好 👋  <|im_end|>"


def test_spaces_that_a_tokenizer_leaves_out_of_a_tokens_place_are_trained(tiny_model):
    from tokenizers import processors  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(tiny_model("llama-chat"))
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    talk = [{"role": "user", "content": "x  "}, {"role": "assistant", "content": "a   b"}]
    (example,) = conversation_maker(tokenizer, Limits(512))({"messages": json.dumps(talk)})
    assert tokenizer.decode([label for label in example.labels if label != IGNORED]) == "a   b<|im_end|>"


def test_a_model_without_a_template_trains_its_own_end_token(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("llama"))
    ensure_chat_template(tokenizer)
    (example,) = conversation_maker(tokenizer, Limits(512))({"user": "Hi", "assistant": "Hello"})
    kept = [label for label in example.labels if label != IGNORED]
    assert kept[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(kept) == "Hello</s>"
