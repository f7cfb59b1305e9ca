"""Text classification: the texts a model sees, and the results it gives."""

from __future__ import annotations

import json
import random
import shutil
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoTokenizer, RobertaConfig, T5Config, pipeline

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.tasks import TaskSpec
from pgml.runtime.tasks import text_classification as classification
from pgml.runtime.tasks.batches import token_batches
from pgml.runtime.tasks.text_classification import encode, max_length, prepare_tokenizer

WORDS = "the film was wonderful terrible late broken phone screen battery how do i reset a password berlin".split()


def sentence(words, seed=0):
    return " ".join(random.Random(seed).choices(WORDS, k=words))


@pytest.fixture(scope="session")
def load(tiny_model):
    return lambda name, task="text-classification": classification.load(str(tiny_model(name)), TaskSpec(task))


@pytest.fixture(scope="session")
def bert(load):
    return load("bert-classifier")


def run(model, inputs, **args):
    results = [None] * len(inputs)
    for finished in classification.run(model, inputs, args, lambda: False):
        for position, result in finished:
            results[position] = result
    return results


@pytest.fixture
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model("bert-classifier"))


class TestEncode:
    @pytest.mark.parametrize("side", ["left", "right"])
    @pytest.mark.parametrize("words", [1, 60, 80, 500, 20_000])
    def test_a_long_text_has_the_tokens_of_the_whole_text(self, tokenizer, side, words):
        tokenizer.truncation_side = side
        text = sentence(words)
        whole = tokenizer([text], truncation=True, max_length=64)
        assert dict(encode(tokenizer, [text])) == dict(whole)

    @pytest.mark.parametrize(("wanted", "kept"), [("left", "wonderful"), ("right", "terrible")])
    def test_the_side_that_is_cut_can_be_chosen_and_stays_as_it_was(self, tokenizer, wanted, kept):
        before = tokenizer.truncation_side
        text = "terrible " + "film " * 500 + "wonderful"
        ids = encode(tokenizer, [text], tokenizer_args={"truncation_side": wanted})["input_ids"][0]
        assert kept in tokenizer.decode(ids)
        assert tokenizer.truncation_side == before

    @pytest.mark.parametrize(
        "text", [" " * 50_000 + "film", "x" * 50_000 + " film", "a" * 99 + "é" * 3000, "\n\0 film" * 900]
    )
    def test_a_long_text_of_few_tokens_is_read_to_its_end(self, tokenizer, text):
        assert dict(encode(tokenizer, [text])) == dict(tokenizer([text], truncation=True, max_length=64))

    def test_pairs_are_cut_like_the_whole_pairs(self, tokenizer):
        pairs = [(sentence(a, a), sentence(b, b)) for a, b in ((5, 900), (900, 5), (900, 900), (10, 3))]
        first, second = zip(*pairs, strict=True)
        whole = tokenizer(list(first), list(second), truncation=True, max_length=64)
        assert dict(encode(tokenizer, list(first), list(second))) == dict(whole)

    def test_a_megabyte_is_not_tokenised_as_a_whole(self, tokenizer):
        text = sentence(200_000)
        assert len(text) > 1_000_000
        start = time.perf_counter()
        tokenizer([text], truncation=True, max_length=64)
        whole = time.perf_counter() - start
        start = time.perf_counter()
        encode(tokenizer, [text])
        assert time.perf_counter() - start < whole / 5

    def test_arguments_of_the_tokenizer_are_used(self, tokenizer):
        ids = encode(tokenizer, [sentence(100)], None, {"max_length": 10, "add_special_tokens": False, "padding": True})
        assert len(ids["input_ids"][0]) == 10
        assert tokenizer.cls_token_id not in ids["input_ids"][0]

    def test_a_text_that_is_not_to_be_truncated_must_fit(self, tokenizer):
        assert len(encode(tokenizer, [sentence(20)], None, {"truncation": False})["input_ids"][0]) < 64
        with pytest.raises(RuntimeFault, match="longer than the maximum of 64") as caught:
            encode(tokenizer, [sentence(100)], None, {"truncation": False})
        assert caught.value.sqlstate == "22023"

    def test_no_texts_have_no_tokens(self, tokenizer):
        assert encode(tokenizer, [])["input_ids"] == []


class TestMaxLength:
    @pytest.mark.parametrize(
        ("limit", "config", "args", "expected"),
        [
            (10**30, T5Config(), {}, 512),
            (10**30, RobertaConfig(max_position_embeddings=514, pad_token_id=1), {}, 512),
            (512, RobertaConfig(max_position_embeddings=514, pad_token_id=1), {"max_length": 600}, 512),
            (128, RobertaConfig(max_position_embeddings=514, pad_token_id=1), None, 128),
            (128, None, {"max_length": 16}, 16),
            (128, None, {"max_length": None}, 128),
        ],
    )
    def test_the_least_counts(self, tokenizer, limit, config, args, expected):
        tokenizer.model_max_length = limit
        assert max_length(tokenizer, config, args) == expected

    def test_the_positions_of_a_model_count(self, tokenizer, tiny_model):
        tokenizer.model_max_length = 10**30
        config = AutoConfig.from_pretrained(tiny_model("bert-classifier"))
        assert max_length(tokenizer, config) == 64


class TestPrepareTokenizer:
    def test_a_decoder_pads_with_its_end_token(self, load):
        llama = load("llama-classifier")
        assert llama.tokenizer.pad_token == llama.tokenizer.eos_token
        assert llama.module.config.pad_token_id == llama.tokenizer.eos_token_id

    def test_the_tokenizer_learns_the_limit_of_the_model(self, bert, tokenizer):
        tokenizer.model_max_length = 10**30
        prepare_tokenizer(tokenizer, bert.module)
        assert tokenizer.model_max_length == 64

    def test_a_tokenizer_with_no_token_to_pad_with_is_refused(self, load):
        llama = load("llama-classifier")
        llama.tokenizer.pad_token = llama.tokenizer.eos_token = None
        with pytest.raises(RuntimeFault, match="neither a padding nor an end-of-sequence token"):
            prepare_tokenizer(llama.tokenizer, llama.module)


@given(st.lists(st.integers(1, 40)), st.integers(1, 60))
def test_batches_hold_every_row_once_and_no_more_than_the_tokens(lengths, tokens):
    batches = list(token_batches(lengths, tokens))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[row] for row in batch) * len(batch) <= tokens


@pytest.mark.parametrize("name", ["bert-classifier", "llama-classifier"])
class TestResults:
    texts = tuple(sentence(words, words) for words in (3, 90, 1, 12, 7, 40, 2, 300))

    def test_they_are_those_of_the_pipeline(self, load, name):
        model = load(name)
        pipe = pipeline("text-classification", model=model.module, tokenizer=model.tokenizer, device="cpu")
        expected = [pipe(text, truncation=True)[0] for text in self.texts]
        results = run(model, list(self.texts))
        assert [r["label"] for r in results] == [r["label"] for r in expected]
        assert [r["score"] for r in results] == pytest.approx([r["score"] for r in expected], abs=1e-5)
        assert len({r["score"] for r in results}) == len(self.texts)

    def test_a_batch_gives_what_single_texts_give(self, load, name):
        model = load(name)
        singles = [run(model, [text])[0] for text in self.texts]
        for together, alone in zip(run(model, list(self.texts)), singles, strict=True):
            assert together["label"] == alone["label"]
            assert together["score"] == pytest.approx(alone["score"], abs=1e-5)


def test_more_texts_than_a_window_come_back_in_order(bert):
    texts = [f"{WORDS[n % 7]} {sentence(n % 11, n)} {n % 10}" for n in range(classification.WINDOW + 40)]
    results = run(bert, texts)
    for position in (0, 5, classification.WINDOW - 1, classification.WINDOW, len(texts) - 1):
        assert results[position]["score"] == pytest.approx(run(bert, [texts[position]])[0]["score"], abs=1e-5)


def test_labels_are_the_users_and_scores_sum_to_one(bert):
    [scores] = run(bert, ["the film"], top_k=None)
    assert {row["label"] for row in scores} == {"negative", "neutral", "positive"}
    assert sum(row["score"] for row in scores) == pytest.approx(1)
    assert [row["score"] for row in scores] == sorted((row["score"] for row in scores), reverse=True)
    assert run(bert, ["the film"], top_k=2) == [scores[:2]]
    assert run(bert, ["the film"], top_k=9) == [scores]
    assert run(bert, ["the film"], return_all_scores=True) == [scores]
    assert run(bert, ["the film"]) == [scores[0]]


def test_functions_can_be_chosen(bert):
    [logits] = run(bert, ["the film"], top_k=None, function_to_apply="none")
    [sigmoids] = run(bert, ["the film"], top_k=None, function_to_apply="sigmoid")
    expected = torch.tensor([row["score"] for row in logits]).sigmoid().tolist()
    assert [row["score"] for row in sigmoids] == pytest.approx(expected)


@pytest.fixture
def changed(tiny_copy_of, load):
    """A model with another config.json."""

    def change(**config):
        directory = tiny_copy_of("bert-classifier")
        file = directory / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **config}))
        return classification.load(str(directory), TaskSpec("text-classification"))

    return change


@pytest.fixture
def tiny_copy_of(tiny_model, tmp_path):
    return lambda name: shutil.copytree(tiny_model(name), tmp_path / name)


def test_a_multi_label_model_gives_every_label_its_own_score(changed):
    model = changed(problem_type="multi_label_classification")
    [scores] = run(model, ["the film"])
    assert len(scores) == 3
    assert sum(row["score"] for row in scores) != pytest.approx(1, abs=1e-3)
    assert run(model, ["the film"], top_k=1) == [scores[:1]]


def test_a_regression_model_gives_its_number(changed):
    model = changed(problem_type="regression")
    [number] = run(model, ["the film"])
    [logits] = run(model, ["the film"], top_k=None, function_to_apply="none")
    assert number == logits[0]


def test_a_tuned_model_is_served_with_the_arguments_it_was_tuned_with(tiny_copy_of, bert):
    directory = tiny_copy_of("bert-classifier")
    (directory / "pgml.json").write_text(json.dumps({"format": 1, "tokenizer_args": {"max_length": 4}}))
    model = classification.load(str(directory), TaskSpec("text-classification"))
    text = sentence(30)
    assert run(model, [text]) == run(bert, [text], max_length=4)
    assert run(model, [text]) != run(bert, [text])
    assert run(model, [text], max_length=64) == run(bert, [text])


def test_pairs_in_all_spellings_are_the_same(bert):
    pair = ("the film", "was wonderful")
    spellings = [
        {"text": pair[0], "text_pair": pair[1]},
        {"text1": pair[0], "text2": pair[1]},
        list(pair),
    ]
    results = run(bert, spellings)
    assert results[0] == results[1] == results[2]
    assert results[0]["score"] != pytest.approx(run(bert, [" ".join(pair)])[0]["score"], abs=1e-5)
    assert results[0]["score"] != pytest.approx(run(bert, [list(reversed(pair))])[0]["score"], abs=1e-5)


@pytest.mark.parametrize("value", [5, {"txt": "x"}, {"text": 1}, ["a"], ["a", "b", "c"], True, {"text": "a", "x": "b"}])
def test_an_input_that_is_no_text_is_refused(bert, value):
    with pytest.raises(RuntimeFault, match="invalid input") as caught:
        run(bert, [value])
    assert caught.value.sqlstate == "22023"


def test_texts_and_pairs_do_not_mix(bert, load):
    with pytest.raises(RuntimeFault, match="not a pair"):
        run(bert, ["a", ["a", "b"]])
    with pytest.raises(RuntimeFault, match="not a pair"):
        run(load("bert-classifier", "text-pair-classification"), ["a"])


def test_a_model_without_a_head_for_it_is_not_served_with_a_random_one(load):
    with pytest.raises(RuntimeFault, match="no weights for text-classification") as caught:
        load("bert")
    assert "classifier.weight" in caught.value.detail
    assert "pgml.tune" in caught.value.hint


def test_strange_texts_have_results(bert):
    texts = ["", " ", "\0", "\U0001f600", "\ufffd", "日本語のテキスト", sentence(200_000)]
    assert all(0 < result["score"] <= 1 for result in run(bert, texts))
