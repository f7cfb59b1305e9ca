"""The tasks that go through transformers' pipelines."""

from __future__ import annotations

import pytest
from transformers import pipeline

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.tasks import TaskSpec, pipelines

CASES = {
    "feature-extraction": ("bert", {}),
    "fill-mask": ("bert-masked", {"top_k": 2}),
    "token-classification": ("bert-tokens", {"aggregation_strategy": "simple"}),
    "zero-shot-classification": ("bert-nli", {"candidate_labels": ["politics", "sports"]}),
}
TEXTS = ["Maria lives in [MASK].", "the [MASK] was good"]


@pytest.fixture(scope="session")
def load(tiny_model):
    return lambda task: pipelines.load(str(tiny_model(CASES[task][0])), TaskSpec(task))


def run(model, inputs, **args):
    results = [None] * len(inputs)
    for finished in pipelines.run(model, inputs, args, lambda: False):
        for position, result in finished:
            results[position] = result
    return results


@pytest.mark.parametrize("task", CASES)
def test_each_input_has_the_result_of_the_pipeline(load, tiny_model, task):
    name, args = CASES[task]
    pipe = pipeline(task, model=str(tiny_model(name)), device="cpu")
    assert run(load(task), TEXTS, **args, batch_size=2) == [pipe(text, **args) for text in TEXTS]


@pytest.mark.parametrize("task", CASES)
def test_an_unknown_argument_is_one_clear_error(load, task):
    with pytest.raises(RuntimeFault, match=f'unknown argument "tok_k" for {task}') as caught:
        run(load(task), TEXTS, tok_k=1)
    assert caught.value.sqlstate == "22023"


@pytest.mark.parametrize("task", CASES)
@pytest.mark.parametrize("value", [5, {"a": 1}, []])
def test_an_input_that_is_no_text_is_refused(load, task, value):
    with pytest.raises(RuntimeFault, match="is not a text"):
        run(load(task), [value], **CASES[task][1])


def test_features_of_a_long_text_are_those_of_its_beginning(load):
    model = load("feature-extraction")
    long = run(model, ["film " * 300])
    assert len(long[0][0]) == 64


@pytest.mark.parametrize(
    ("task", "args", "match"),
    [
        ("token-classification", {"aggregation_strategy": "best"}, "aggregation_strategy"),
        ("zero-shot-classification", {"candidate_labels": 5}, "candidate_labels"),
        ("zero-shot-classification", {}, "needs labels"),
        ("fill-mask", {"top_k": "x"}, "top_k"),
    ],
)
def test_a_bad_argument_is_one_clear_error(load, task, args, match):
    with pytest.raises(RuntimeFault, match=match) as caught:
        run(load(task), ["[MASK]"], **args)
    assert caught.value.sqlstate == "22023"


def test_a_text_without_mask_says_so(load):
    with pytest.raises(RuntimeFault) as caught:
        run(load("fill-mask"), ["no mask"])
    assert "No mask_token" in caught.value.detail


def test_a_model_of_another_kind_is_refused(tiny_model):
    with pytest.raises(RuntimeFault, match="cannot be used for fill-mask") as caught:
        pipelines.load(str(tiny_model("t5")), TaskSpec("fill-mask"))
    assert caught.value.detail == 'It is a model of type "t5".'


def test_a_model_without_the_head_is_refused(tiny_model):
    with pytest.raises(RuntimeFault, match="no weights for token-classification"):
        pipelines.load(str(tiny_model("bert")), TaskSpec("token-classification"))
