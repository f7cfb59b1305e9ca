"""Rows of language models' tasks as examples: what is trained, what is cut, what is too long."""

from __future__ import annotations

import json

import pytest
from transformers import AutoTokenizer

from pgml.runtime.tuning.examples.makers import (
    IGNORED,
    Example,
    Limits,
    TooLong,
    conversation_maker,
    messages_of,
    prompt_maker,
    text_maker,
)
from pgml.runtime.tuning.examples.prompt_template import PromptTemplate


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model("llama-chat"))


def trained(tokenizer, example):
    return tokenizer.decode([label for label in example.labels if label != IGNORED])


def talk(*contents):
    roles = ("user", "assistant")
    return [{"role": roles[number % 2], "content": content} for number, content in enumerate(contents)]


def test_a_column_per_role_makes_a_conversation():
    row = {"system": "Be kind.", "user": "Hi", "assistant": "Hello"}
    assert [message["role"] for message in messages_of(row)] == ["system", "user", "assistant"]
    assert messages_of({"system": None, "user": "Hi", "assistant": "Hello"}) == talk("Hi", "Hello")
    assert messages_of({"system": " ", "assistant": "Hello"}) == [{"role": "assistant", "content": "Hello"}]
    assert messages_of({"messages": json.dumps(talk("Hi", "Hello"))}) == talk("Hi", "Hello")


def test_what_follows_the_last_answer_is_left_out(tokenizer):
    (example,) = conversation_maker(tokenizer, Limits(512))({"messages": json.dumps(talk("Hi", "Hello", "And?"))})
    assert tokenizer.decode(example.ids).endswith("Hello<|im_end|>\n")


def test_a_conversation_without_an_answer_gives_no_example(tokenizer):
    assert conversation_maker(tokenizer, Limits(512))({"messages": json.dumps(talk("Hi"))}) == []


def test_of_a_long_conversation_the_oldest_turns_go_first(tokenizer):
    messages = [{"role": "system", "content": "Be kind."}, *talk("first", "one", "second", "two", "third", "three")]
    make = conversation_maker(tokenizer, Limits(512))
    whole = len(make({"messages": json.dumps(messages)})[0].ids)
    (example,) = conversation_maker(tokenizer, Limits(whole - 1))({"messages": json.dumps(messages)})
    text = tokenizer.decode(example.ids)
    assert example.was_cut
    assert "Be kind." in text
    assert "first" not in text
    assert trained(tokenizer, example) == "two<|im_end|>three<|im_end|>"


def test_of_a_single_turn_the_left_of_the_prompt_is_cut(tokenizer):
    (example,) = conversation_maker(tokenizer, Limits(30))({"user": "x" * 100, "assistant": "the end"})
    assert len(example.ids) == 30
    assert trained(tokenizer, example) == "the end<|im_end|>"


def test_a_token_that_begins_every_text_is_kept(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("llama-chat"), bos_token="<|im_start|>")
    (example,) = conversation_maker(tokenizer, Limits(30))({"user": "x" * 100, "assistant": "the end"})
    assert (len(example.ids), example.ids[0]) == (30, tokenizer.bos_token_id)
    assert trained(tokenizer, example) == "the end<|im_end|>"


def test_of_a_long_answer_the_end_is_kept(tokenizer):
    (example,) = conversation_maker(tokenizer, Limits(20))({"user": "Hi", "assistant": "y" * 100})
    assert len(example.ids) == 20
    assert trained(tokenizer, example).endswith("y<|im_end|>")


@pytest.mark.parametrize("on_overflow", ["drop", "error"])
def test_what_is_not_to_be_cut_says_how_long_it_is(tokenizer, on_overflow):
    with pytest.raises(TooLong) as caught:
        conversation_maker(tokenizer, Limits(20, on_overflow))({"user": "Hi", "assistant": "y" * 100})
    assert caught.value.length > 100


def test_a_template_is_filled_and_its_completion_trained(tokenizer):
    template = PromptTemplate.parse("### Question:\n{question}\n\n### Answer:\n{answer}")
    make = prompt_maker(tokenizer, template, {"completion_column": "answer"}, Limits(512))
    (example,) = make({"field:question": "Who?", "field:answer": "Me."})
    assert tokenizer.decode(example.ids) == "### Question:\nWho?\n\n### Answer:\nMe.<|im_end|>"
    assert trained(tokenizer, example) == "Me.<|im_end|>"


def test_the_end_token_stands_where_the_template_says(tokenizer):
    template = PromptTemplate.parse("{q} => {a} {eos_token}")
    make = prompt_maker(tokenizer, template, {"completion_column": "a"}, Limits(512))
    assert trained(tokenizer, make({"field:q": "x", "field:a": "y"})[0]) == "y <|im_end|>"


def test_another_column_than_the_last_may_be_the_completion(tokenizer):
    template = PromptTemplate.parse("{q}: {a} ({note})")
    make = prompt_maker(tokenizer, template, {"completion_column": "a"}, Limits(512))
    assert trained(tokenizer, make({"field:q": "x", "field:a": "y", "field:note": None})[0]) == "y ()<|im_end|>"


def test_prompt_and_completion_stand_for_their_columns(tokenizer):
    template = PromptTemplate.parse("Q {prompt} A {completion}")
    columns = {"prompt_column": "question", "completion_column": "answer"}
    make = prompt_maker(tokenizer, template, columns, Limits(512))
    assert trained(tokenizer, make({"field:question": "x", "field:answer": "y"})[0]) == "y<|im_end|>"
    assert trained(tokenizer, make({"prompt": "x", "completion": "y"})[0]) == "y<|im_end|>"


def test_all_of_a_text_is_trained_and_it_ends(tokenizer):
    (example,) = text_maker(tokenizer, Limits(512, "split"))({"text": "The film was wonderful"})
    assert trained(tokenizer, example) == "The film was wonderful<|im_end|>"


def test_a_long_text_is_split_or_cut(tokenizer):
    text = "The quick brown fox jumps over the lazy dog. " * 5
    parts = text_maker(tokenizer, Limits(20, "split"))({"text": text})
    assert len(parts) > 2
    assert "".join(tokenizer.decode(part.ids) for part in parts) == text + "<|im_end|>"
    (cut,) = text_maker(tokenizer, Limits(20, "truncate"))({"text": text})
    assert cut.ids == parts[0].ids
    with pytest.raises(TooLong):
        text_maker(tokenizer, Limits(20, "drop"))({"text": text})


def test_the_prompt_is_what_stands_before_the_last_answer():
    assert Example([1, 2, 3, 4, 5], [IGNORED, 2, IGNORED, 4, IGNORED]).prompt_length == 3
    assert Example([1, 2], [1, 2]).prompt_length == 0


def test_a_first_token_alone_trains_nothing():
    assert not Example([1, 2], [1, IGNORED]).is_trained
    assert Example([1, 2], [IGNORED, 2]).is_trained
