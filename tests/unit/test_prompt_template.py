"""Prompt templates: taken apart, filled in, and as chat templates."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from pgml.runtime.conversations import end_of_turn, render
from pgml.runtime.tuning.examples.prompt_template import BadTemplate, PromptTemplate


def test_a_template_is_taken_apart_and_filled():
    template = PromptTemplate.parse("Q: {question}\nA: {answer}{eos_token}")
    assert template.columns == ["question", "answer"]
    values = {"question": "Who?", "answer": "Me.", "eos_token": "</s>"}
    assert template.fill(values) == "Q: Who?\nA: Me.</s>"
    assert template.fill(values, 0, 1) + template.fill(values, 1) == template.fill(values)


def test_contents_with_braces_are_left_alone():
    assert PromptTemplate.parse("{a}").fill({"a": "{b}"}) == "{b}"


def test_doubled_braces_stand_for_braces():
    assert PromptTemplate.parse('{{"q": "{q}"}}').fill({"q": "x"}) == '{"q": "x"}'


@pytest.mark.parametrize("template", ["{a", "a}", "{}", "{ }", "{a{b}"])
def test_braces_that_do_not_fit(template):
    with pytest.raises(BadTemplate):
        PromptTemplate.parse(template)


@pytest.fixture
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model("llama"))


def test_a_conversation_by_the_predecessors_template(tokenizer):
    template = '### System:\n{system}\n### Human: "{user}"\n### Assistant: {assistant} {eos_token}'
    tokenizer.chat_template = PromptTemplate.parse(template).chat_template()
    talk = [
        {"role": "system", "content": "Be {kind} 'é'."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
    ]
    asked = "### System:\nBe {kind} 'é'.\n### Human: \"Hi\"\n### Assistant: "
    assert render(tokenizer, talk[:2], add_generation_prompt=True) == asked
    assert render(tokenizer, talk) == asked + "Hello </s>"
    assert end_of_turn(tokenizer) == "</s>"
    assert render(tokenizer, talk[1:2]).startswith("### System:\n\n### Human")
    assert render(tokenizer, [*talk, *talk[1:]]).count("### Human") == 2


def test_an_answer_always_ends(tokenizer):
    tokenizer.chat_template = PromptTemplate.parse("Q: {user} A: {assistant}\n").chat_template()
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert render(tokenizer, talk) == "Q: Hi A: Hello\n</s>"
    assert end_of_turn(tokenizer) == "</s>"


def test_backslashes_and_jinja_in_a_template_are_text(tokenizer):
    tokenizer.chat_template = PromptTemplate.parse("a\\n{{% x %}} {user} {assistant}").chat_template()
    assert render(tokenizer, [{"role": "user", "content": "Hi"}]) == "a\\n{% x %} Hi "
