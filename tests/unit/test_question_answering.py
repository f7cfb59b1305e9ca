"""Extractive question answering."""

from __future__ import annotations

import json

import pytest
import torch

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.tasks import TaskSpec, question_answering

CONTEXT = "Maria lives in Berlin and works for a small company in Paris."
QUESTION = "Where does Maria live?"


@pytest.fixture(scope="session")
def model(tiny_model):
    return question_answering.load(str(tiny_model("bert-qa")), TaskSpec("question-answering"))


def run(model, inputs, **args):
    results = [None] * len(inputs)
    for finished in question_answering.run(model, inputs, args, lambda: False):
        for position, result in finished:
            results[position] = result
    return results


def ask(model, context=CONTEXT, question=QUESTION, **args):
    return run(model, [{"question": question, "context": context}], **args)[0]


def test_an_answer_is_the_most_probable_part_of_the_context(model):
    encoded = model.tokenizer(QUESTION, CONTEXT, return_tensors="pt", return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        output = model.module(**encoded)
    context = [i for i, sequence in enumerate(encoded.sequence_ids(0)) if sequence == 1]
    starts = dict(zip(context, output.start_logits[0][context].softmax(-1).tolist(), strict=True))
    ends = dict(zip(context, output.end_logits[0][context].softmax(-1).tolist(), strict=True))
    score, first, last = max((starts[i] * ends[j], i, j) for i in context for j in context if i <= j < i + 15)
    answer = ask(model, align_to_words=False)
    assert (answer["start"], answer["end"]) == (offsets[first][0], offsets[last][1])
    assert answer["score"] == pytest.approx(score, abs=1e-6)
    assert answer["answer"] == CONTEXT[answer["start"] : answer["end"]]
    assert list(answer) == ["score", "start", "end", "answer"]


def test_answers_are_whole_words(model):
    for answer in ask(model, "unbelievableness, postgresql-like", top_k=20):
        assert answer["start"] in (0, 16, 18, 28, 29)
        assert answer["end"] in (16, 17, 28, 29, 33)


def test_json_text_and_objects_are_the_same(model):
    value = {"question": QUESTION, "context": CONTEXT}
    first, second = run(model, [value, json.dumps(value)])
    assert first == second


def test_more_answers_come_best_first_and_differ(model):
    answers = ask(model, top_k=4)
    assert len(answers) == 4
    assert [a["score"] for a in answers] == sorted((a["score"] for a in answers), reverse=True)
    assert len({(a["start"], a["end"]) for a in answers}) == 4
    assert answers[0] == ask(model)


def test_a_context_longer_than_the_model_is_read_to_its_end(model):
    # The model holds 64 tokens, so the place of its best answer within a text of 400 words is found only with spans.
    best = ask(model, CONTEXT)
    padded = "zzz " * 400 + CONTEXT
    answers = ask(model, padded, top_k=50, doc_stride=20)
    assert max(answer["end"] for answer in answers) > len("zzz " * 400)
    assert all(padded[a["start"] : a["end"]] == a["answer"] for a in answers)
    assert best["answer"] in CONTEXT


def test_the_length_of_an_answer_is_limited(model):
    assert all(" " not in answer["answer"] for answer in ask(model, "one two three four", top_k=9, max_answer_len=1))


def test_there_may_be_no_answer(model):
    answers = ask(model, top_k=200, handle_impossible_answer=True)
    assert [a["answer"] for a in answers].count("") == 1
    assert all(answer["answer"] for answer in ask(model, top_k=200))


def test_a_long_question_is_cut_and_not_refused(model):
    assert ask(model, question="where " * 200)["answer"] in CONTEXT


@pytest.mark.parametrize(
    "value", ["no json", "[]", {"question": "x"}, {"question": " ", "context": "x"}, {"question": 1, "context": "x"}, 5]
)
def test_an_input_without_question_and_context_is_refused(model, value):
    with pytest.raises(RuntimeFault, match="no question and context") as caught:
        run(model, [value])
    assert caught.value.sqlstate == "22023"


def test_an_unknown_argument_is_refused(model):
    with pytest.raises(RuntimeFault, match='unknown argument "max_answer_length"') as caught:
        ask(model, max_answer_length=5)
    assert '"max_answer_len"' in caught.value.hint
