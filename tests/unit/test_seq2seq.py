"""Summarization and translation."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.tasks import TaskSpec, seq2seq, summarization, translation

TEXTS = ["The film was wonderful, a joy from the first minute to the last.", "terrible", "the box was broken"]


@pytest.fixture(scope="session")
def model(tiny_model):
    return summarization.load(str(tiny_model("t5")), TaskSpec("summarization"))


def run(task, model, inputs, cancelled=lambda: False, **args):
    results = [None] * len(inputs)
    for finished in task.run(model, inputs, args, cancelled):
        for position, result in finished:
            results[position] = result
    return results


def generated(model, text, **settings):
    encoded = model.tokenizer([text], return_tensors="pt")
    with torch.no_grad():
        ids = model.module.generate(**encoded, **settings)
    return model.tokenizer.decode(ids[0], skip_special_tokens=True)


def test_results_are_what_the_model_generates_for_each_text(model):
    expected = [generated(model, text, max_new_tokens=8) for text in TEXTS]
    assert run(summarization, model, TEXTS, max_new_tokens=8) == [{"summary_text": text} for text in expected]
    assert run(translation, model, TEXTS, max_new_tokens=8) == [{"translation_text": text} for text in expected]


def test_several_sequences_make_a_list(model):
    results = run(summarization, model, TEXTS, max_new_tokens=4, num_beams=2, num_return_sequences=2)
    assert [len(result) for result in results] == [2, 2, 2]
    assert results[0][0] == run(summarization, model, TEXTS[:1], max_new_tokens=4, num_beams=2)[0]


def test_the_library_s_limit_of_20_tokens_is_not_ours(model, monkeypatch):
    monkeypatch.setattr(seq2seq, "MAX_NEW_TOKENS", 25)
    [result] = run(summarization, model, TEXTS[:1])
    assert result["summary_text"] == generated(model, TEXTS[0], max_new_tokens=25)
    assert result["summary_text"] != generated(model, TEXTS[0], max_length=20)


def test_settings_of_the_model_are_used_and_can_be_overridden(tiny_model, tmp_path):
    directory = shutil.copytree(tiny_model("t5"), tmp_path / "t5")
    config = json.loads((directory / "config.json").read_text())
    config["task_specific_params"] = {
        "translation_en_to_fr": {"prefix": "translate English to French: ", "max_length": 5, "early_stopping": True}
    }
    (directory / "config.json").write_text(json.dumps(config))
    model = translation.load(str(directory), TaskSpec("translation"))
    prefixed = "translate English to French: " + TEXTS[0]
    languages = {"src_lang": "en", "tgt_lang": "fr"}
    assert run(translation, model, TEXTS[:1], **languages) == [
        {"translation_text": generated(model, prefixed, max_length=5, early_stopping=True)}
    ]
    assert run(translation, model, TEXTS[:1], **languages, max_length=7) == [
        {"translation_text": generated(model, prefixed, max_length=7, early_stopping=True)}
    ]
    assert run(translation, model, TEXTS[:1], max_length=7) == [
        {"translation_text": generated(model, TEXTS[0], max_length=7)}
    ]


def test_generation_stops_when_the_client_goes(model):
    calls = []

    def cancelled():
        calls.append(1)
        return len(calls) == 3

    run(summarization, model, TEXTS[:1], cancelled)
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("args", "match"),
    [
        ({"max_tokens": 5}, 'unknown argument "max_tokens"'),
        ({"src_lang": "en"}, 'unknown argument "src_lang" for summarization'),
        ({"max_length": "long"}, '"max_length" must be a positive integer'),
        ({"num_beams": 2, "num_return_sequences": 3}, "does not take these arguments"),
    ],
)
def test_a_bad_argument_is_one_clear_error(model, args, match):
    with pytest.raises(RuntimeFault, match=match) as caught:
        run(summarization, model, TEXTS, **args)
    assert caught.value.sqlstate == "22023"


def test_an_input_that_is_no_text_is_refused(model):
    with pytest.raises(RuntimeFault, match="is not a text"):
        run(translation, model, [{"text": "x"}])
