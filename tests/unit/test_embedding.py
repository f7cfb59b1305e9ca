"""Embeddings: the vectors that sentence-transformers has, whatever the files of a model say, and none of them run."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import time
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm, Pooling
from serving import directory_model

from pgml.runtime import frames
from pgml.runtime.errors import Cancelled, RuntimeFault
from pgml.runtime.serving.engine import Engine
from pgml.runtime.serving.models import ModelDirectory
from pgml.runtime.tasks import TaskSpec, embedding, sentence_layers

pytestmark = pytest.mark.usefixtures("one_thread")
TASK = TaskSpec("embedding", device="cpu")
MINILM = Path(os.environ["PGML_MODELS"]) / "all-MiniLM-L6-v2"
WORDS = "the film was wonderful terrible late broken phone screen battery how do i reset a password berlin".split()
POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


def sentence(words, seed=0):
    return " ".join(random.Random(seed).choices(WORDS, k=words))


TEXTS = ["The film was wonderful.", "", "Late!", sentence(40), "naïve 日本語 \U0001f600", " \n", "\0", sentence(300)]


def run(model, inputs, **args):
    results = [None] * len(inputs)
    for finished in embedding.run(model, inputs, args, lambda: False):
        for position, result in finished:
            results[position] = result
    return results


def close(ours, theirs):
    return ours == [pytest.approx(list(map(float, row)), abs=1e-5) for row in theirs]


def load(directory):
    return embedding.load(str(directory), TASK)


def library(directory):
    return SentenceTransformer(str(directory), device="cpu", local_files_only=True)


@pytest.fixture(scope="session")
def minilm():
    return load(MINILM)


@pytest.fixture(scope="session")
def minilm_library():
    return library(MINILM)


@pytest.fixture
def saved(tiny_model, tmp_path):
    """Save a tiny model with some layers, as sentence-transformers does."""

    def save(pooling, *layers, name="bert", **settings):
        modules = [Transformer(str(tiny_model(name))), pooling, *layers]
        torch.manual_seed(1)
        for layer in layers:
            for parameter in layer.parameters():
                torch.nn.init.normal_(parameter)
        path = tmp_path / "saved"
        SentenceTransformer(modules=modules, device="cpu", **settings).save_pretrained(
            str(path), create_model_card=False
        )
        return path

    return save


@pytest.fixture(scope="session")
def bert(tiny_model):
    return load(tiny_model("bert"))


def edit(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


class TestRealModel:
    def test_vectors_are_those_of_the_library(self, minilm, minilm_library):
        assert close(run(minilm, TEXTS), minilm_library.encode(TEXTS))

    def test_vectors_do_not_depend_on_the_other_texts(self, minilm):
        for together, text in zip(run(minilm, TEXTS), TEXTS, strict=True):
            assert close(run(minilm, [text]), [together])

    def test_similar_texts_are_near(self, minilm):
        cat, kitten, engine = torch.tensor(run(minilm, ["A cat sleeps.", "The kitten is asleep.", "A diesel engine"]))
        assert cat @ kitten > 2 * (cat @ engine)

    def test_a_long_text_is_cut_where_the_model_says(self, minilm, minilm_library):
        text = sentence(600)
        assert minilm.tokenizer.model_max_length == 256
        assert close(run(minilm, [text]), minilm_library.encode([text]))
        assert run(minilm, [text]) == run(minilm, [text + " and more"])

    def test_numbers_have_32_bits_and_keep_them_in_json(self, minilm):
        [vector] = frames.decode(frames.encode(run(minilm, ["the film"])))
        assert len(vector) == 384
        assert [struct.unpack("f", struct.pack("f", number))[0] for number in vector] == vector

    def test_arguments_are_those_of_the_library(self, minilm, minilm_library):
        for args in ({"prompt": "query: "}, {"truncate_dim": 10}, {"truncate_dim": 10, "normalize_embeddings": True}):
            assert close(run(minilm, TEXTS[:3], **args), minilm_library.encode(TEXTS[:3], **args))
        assert run(minilm, ["a"], instruction="query: ") == run(minilm, ["query: a"])
        assert run(minilm, ["a"], truncate_dim=10, normalize=True) == run(
            minilm, ["a"], truncate_dim=10, normalize_embeddings=True
        )

    def test_arguments_without_effect_are_taken(self, minilm):
        args = {
            "batch_size": 8,
            "show_progress_bar": True,
            "convert_to_tensor": True,
            "output_value": "sentence_embedding",
        }
        assert run(minilm, ["a"], **args) == run(minilm, ["a"])


class TestTexts:
    def test_more_than_a_window_come_back_in_order(self, bert):
        texts = [f"{n % 10} {sentence(n % 5, n)}" for n in range(embedding.WINDOW + 20)]
        results = run(bert, texts)
        for position in (0, embedding.WINDOW - 1, embedding.WINDOW, len(texts) - 1):
            assert close([results[position]], run(bert, [texts[position]]))

    def test_a_megabyte_is_not_tokenised_as_a_whole(self, bert):
        huge = sentence(200_000)
        start = time.perf_counter()
        bert.tokenizer([huge], truncation=True)
        whole = time.perf_counter() - start
        start = time.perf_counter()
        assert close(run(bert, [huge]), run(bert, [huge[:5_000]]))
        assert time.perf_counter() - start < whole / 5


class TestLayers:
    @pytest.mark.parametrize("mode", [*POOLINGS, ("mean", "cls", "max")])
    def test_every_pooling_is_that_of_the_library(self, saved, mode):
        path = saved(Pooling(32, mode))
        assert close(run(load(path), TEXTS), library(path).encode(TEXTS))

    @pytest.mark.parametrize(
        "layers",
        [
            (Normalize(),),
            (Dense(32, 16), Normalize()),
            (Dense(32, 32, bias=False, activation_function=torch.nn.Identity()), Dropout(), LayerNorm(32)),
            (Dense(32, 8, use_residual=True), Dense(8, 8, use_residual=True, activation_function=torch.nn.GELU())),
        ],
    )
    def test_layers_are_those_of_the_library(self, saved, layers):
        path = saved(Pooling(32), *layers)
        model = load(path)
        assert close(run(model, TEXTS), library(path).encode(TEXTS))
        assert model.bytes == sum(p.numel() * 4 for p in library(path).parameters()) + sum(
            b.numel() * b.element_size() for b in model.module.buffers()
        )

    @pytest.mark.parametrize("name", ["bert", "t5", "bert-masked"])
    def test_a_model_of_another_origin_gives_the_mean_of_its_tokens(self, tiny_model, name):
        texts = [text for text in TEXTS if text or name != "t5"]
        assert close(run(load(tiny_model(name)), texts), library(tiny_model(name)).encode(texts))

    def test_a_decoder_of_another_origin_gives_its_last_token(self, tiny_model):
        theirs = library(tiny_model("llama"))
        theirs.tokenizer.pad_token = theirs.tokenizer.eos_token
        texts = [text for text in TEXTS if text]
        model = load(tiny_model("llama"))
        assert close(run(model, texts), theirs.encode(texts))
        # Its tokenizer adds no tokens, so that an empty text has none.
        assert close(run(model, ["", *texts])[:1], run(model, [model.tokenizer.pad_token]))

    def test_an_old_model_is_read_by_its_old_names(self, saved):
        path = saved(Pooling(32, "cls"))
        expected = library(path).encode(["The Film"])
        (path / "1_Pooling/config.json").write_text(
            json.dumps(
                {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
            )
        )
        (path / "sentence_bert_config.json").rename(path / "sentence_roberta_config.json")
        (path / "sentence_roberta_config.json").write_text('{"max_seq_length": 5, "do_lower_case": false}')
        kinds = ["sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"]
        modules = [{"idx": n, "name": str(n), "path": p, "type": kinds[n]} for n, p in enumerate(["", "1_Pooling"])]
        (path / "modules.json").write_text(json.dumps(modules))
        model = load(path)
        assert close(run(model, ["The Film"]), expected)
        assert close(run(model, TEXTS), library(path).encode(TEXTS))
        assert model.tokenizer.model_max_length == 5

    def test_texts_are_written_small_where_the_model_says(self, saved):
        path = saved(Pooling(32), name="t5")
        different = run(load(path), ["ABC Film"])
        edit(path / "sentence_bert_config.json", do_lower_case=True)
        assert close(run(load(path), ["ABC Film"]), library(path).encode(["ABC Film"]))
        assert run(load(path), ["ABC Film"]) == run(load(path), ["abc film"]) != different

    def test_a_vector_is_cut_where_the_model_says(self, saved):
        model = load(saved(Pooling(32), truncate_dim=6))
        assert len(run(model, ["a"])[0]) == 6
        assert len(run(model, ["a"], truncate_dim=None)[0]) == 6
        assert len(run(model, ["a"], truncate_dim=9)[0]) == 9

    def test_half_precision_gives_nearly_the_same(self, saved):
        path = saved(Pooling(32), Dense(32, 16), Normalize())
        half = embedding.load(str(path), TaskSpec("embedding", "bfloat16", "cpu"))
        whole = torch.tensor(run(load(path), ["the film"]))
        assert torch.nn.functional.cosine_similarity(torch.tensor(run(half, ["the film"])), whole) > 0.98


class TestPrompts:
    @pytest.fixture
    def path(self, saved):
        return saved(Pooling(32), prompts={"query": "how do i ", "title": "the "}, default_prompt_name="title")

    def test_a_prompt_of_the_model_is_put_before_the_text(self, path):
        model, theirs = load(path), library(path)
        for args in ({}, {"prompt": ""}, {"prompt_name": "query"}, {"prompt_name": "document"}, {"prompt": "film"}):
            assert close(run(model, TEXTS, **args), theirs.encode(TEXTS, **args))
        assert run(model, ["film"]) == run(model, ["the film"], prompt="")

    def test_an_unknown_prompt_names_the_nearest(self, path):
        with pytest.raises(RuntimeFault, match='model has no prompt "qeury"') as caught:
            run(load(path), ["a"], prompt_name="qeury")
        assert caught.value.sqlstate == "22023"
        assert caught.value.hint == 'Perhaps you meant "query". It has: document, query, title.'

    def test_only_one_prompt_can_be_given(self, minilm):
        with pytest.raises(RuntimeFault, match="exclude each other: instruction, prompt"):
            run(minilm, ["a"], prompt="a", instruction="b")

    @pytest.mark.parametrize("mode", POOLINGS)
    def test_a_prompt_is_left_out_of_the_pooling_where_the_model_says(self, saved, mode):
        path = saved(Pooling(32, mode, include_prompt=False))
        model, theirs = load(path), library(path)
        assert close(run(model, TEXTS, prompt="how do i "), theirs.encode(TEXTS, prompt="how do i "))
        assert close(run(model, TEXTS), theirs.encode(TEXTS))


class TestRefusals:
    @pytest.fixture
    def path(self, saved):
        return saved(Pooling(32), Dense(32, 16))

    def refused(self, path, sqlstate="0A000"):
        with pytest.raises(RuntimeFault) as caught:
            load(path)
        assert caught.value.sqlstate == sqlstate
        return caught.value.message

    def test_pickled_weights_of_a_layer(self, path):
        (path / "2_Dense/model.safetensors").rename(path / "2_Dense/pytorch_model.bin")
        assert self.refused(path) == (
            'its layer "2_Dense" has no weights in a safetensors file, and pickle files are not read'
        )

    @pytest.mark.parametrize("kind", ["custom.Transformer", "os.system", "sentence_transformersx.models.Dense"])
    def test_layers_with_code_of_their_own(self, path, kind):
        modules = json.loads((path / "modules.json").read_text())
        modules[2]["type"] = kind
        (path / "modules.json").write_text(json.dumps(modules))
        assert kind in self.refused(path)

    @pytest.mark.parametrize("kind", ["CNN", "torch", "Transformer", "Pooling"])
    def test_layers_that_are_not_known(self, path, kind):
        modules = json.loads((path / "modules.json").read_text())
        modules[2]["type"] = f"sentence_transformers.models.{kind}"
        (path / "modules.json").write_text(json.dumps(modules))
        assert self.refused(path) == f"its layers cannot be used for embedding: {kind}"

    @pytest.mark.parametrize("outside", ["../other", "/etc", "a/../../b"])
    def test_layers_elsewhere(self, path, outside):
        modules = json.loads((path / "modules.json").read_text())
        modules[2]["path"] = outside
        (path / "modules.json").write_text(json.dumps(modules))
        assert "lies outside of it" in self.refused(path, "22023")

    @pytest.mark.parametrize("text", ["{}", "[1]", "5", "[", '[{"type": "x"}]'])
    def test_a_list_of_layers_that_is_none(self, path, text):
        (path / "modules.json").write_text(text)
        assert self.refused(path, "22023" if text != "{}" else "0A000")

    @pytest.mark.parametrize("activation", ["os.system", "torch.hub.load", "torch.nn.modules.linear.Linear"])
    def test_activations_that_are_not_known(self, path, activation):
        edit(path / "2_Dense/config.json", activation_function=activation)
        assert self.refused(path) == 'its layer "2_Dense" is not supported'

    def test_an_unknown_pooling(self, path):
        edit(path / "1_Pooling/config.json", pooling_mode="attention")
        assert self.refused(path) == 'it has an unknown pooling: "attention"'

    def test_a_transformer_of_messages(self, path):
        edit(path / "sentence_bert_config.json", modality_config={"message": {"method": "forward"}})
        assert self.refused(path) == "its transformer does not take plain texts"

    def test_a_model_that_lacks_weights(self, path, tiny_model):
        edit(path / "config.json", num_hidden_layers=3)
        assert self.refused(path, "22023") == "it has no weights for embedding"

    @pytest.mark.parametrize(
        ("args", "match"),
        [
            ({"promt": "a"}, 'unknown argument "promt" for embedding'),
            ({"normalize": 1}, '"normalize" must be true or false'),
            ({"truncate_dim": 0}, '"truncate_dim" must be a positive integer'),
            ({"output_value": "token_embeddings"}, '"output_value" must be one of'),
            ({"precision": "int8"}, '"precision" must be one of'),
            ({"prompt": None}, '"prompt" must be a string'),
        ],
    )
    def test_arguments(self, minilm, args, match):
        with pytest.raises(RuntimeFault, match=match) as caught:
            run(minilm, ["a"], **args)
        assert caught.value.sqlstate == "22023"

    @pytest.mark.parametrize("value", [5, {"text": "a"}, ["a"], True])
    def test_inputs_that_are_no_texts(self, minilm, value):
        with pytest.raises(RuntimeFault, match="not a text"):
            run(minilm, [value])


class TestServing:
    def test_null_gives_null_and_loading_keys_are_no_arguments(self, backend, tiny_model):
        model = directory_model(tiny_model("bert"))
        first, none, empty = backend.transform(
            model, ["the film", None, ""], "embedding", device="cpu", dtype="float32", trust_remote_code=False
        )
        assert none is None
        assert len(first) == len(empty) == 32
        assert first != empty

    def test_a_wrong_argument_is_an_error(self, backend, tiny_model):
        error = backend.transform(directory_model(tiny_model("bert")), ["a"], "embedding", normalise=True)
        assert error["sqlstate"] == "22023"
        assert 'Perhaps you meant "normalize"' in error["hint"]

    def test_a_model_of_sentence_transformers_needs_no_task(self, backend, saved):
        path = saved(Pooling(32), Normalize())
        [vector] = backend.transform(directory_model(path), ["the film"])
        assert sum(number**2 for number in vector) == pytest.approx(1)

    def test_code_of_a_layer_is_explained(self, backend, tmp_path, tiny_model):
        path = shutil.copytree(tiny_model("bert"), tmp_path / "copy")
        (path / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "custom_st.Transformer"}]')
        error = backend.transform(directory_model(path), ["a"], "sentence-similarity")
        assert error["sqlstate"] == "0A000"
        assert error["message"].startswith('cannot use model "copy": it has a layer with code of its own')

    def test_a_cancelled_request_stops_at_its_next_batch(self, tiny_model):
        engine, calls = Engine(threads=1), []

        def cancelled():
            calls.append(None)
            return len(calls) > 6

        with pytest.raises(Cancelled):
            engine.transform(ModelDirectory("tiny", str(tiny_model("bert"))), TASK, [sentence(90)] * 500, {}, cancelled)
        assert len(calls) == 7


def test_the_names_of_poolings_are_those_of_the_library():
    assert set(sentence_layers.POOLINGS) == set(Pooling.POOLING_MODES) == set(POOLINGS)
