"""Base models as classifiers: which heads are kept, which are new."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.tuning.classifier import load_classifier

LABELS = ["negative", "neutral", "positive"]  # of the tiny classifiers


def weights(directory):
    return load_file(directory / "model.safetensors")


def test_the_head_of_the_same_labels_is_kept(tiny_model):
    base = tiny_model("bert-classifier")
    model, _, keeps_head, _ = load_classifier(str(base), LABELS)
    assert keeps_head
    assert torch.equal(model.classifier.weight, weights(base)["classifier.weight"])


def test_a_head_in_another_order_is_kept_in_the_order_of_the_labels(tiny_model, tmp_path):
    model, _, _, _ = load_classifier(str(tiny_model("bert-classifier")), LABELS)
    model.config.id2label = {0: "positive", 1: "negative", 2: "neutral"}
    model.config.label2id = {"positive": 0, "negative": 1, "neutral": 2}
    model.save_pretrained(tmp_path)
    tokenizer = load_classifier(str(tiny_model("bert-classifier")), LABELS)[1]
    tokenizer.save_pretrained(tmp_path)
    tokens = tokenizer("The film was wonderful", return_tensors="pt")
    before = dict(zip(["positive", "negative", "neutral"], model.eval()(**tokens).logits[0].tolist(), strict=True))

    reordered, _, keeps_head, _ = load_classifier(str(tmp_path), LABELS)
    assert keeps_head
    assert reordered.config.id2label == dict(enumerate(LABELS))
    after = dict(zip(LABELS, reordered.eval()(**tokens).logits[0].tolist(), strict=True))
    assert after == pytest.approx(before, abs=1e-5)  # the last digits depend on the order of summing


@pytest.mark.parametrize("labels", [["a", "b", "c"], ["a", "b"], ["negative", "neutral", "other"]])
def test_other_labels_get_a_new_head_on_the_same_body(tiny_model, labels):
    base = tiny_model("bert-classifier")
    model, _, keeps_head, _ = load_classifier(str(base), labels)
    assert not keeps_head
    stored = weights(base)
    assert model.classifier.weight.shape == (len(labels), 32)
    assert not torch.equal(model.classifier.weight, stored["classifier.weight"][: len(labels)])
    assert torch.equal(model.bert.embeddings.word_embeddings.weight, stored["bert.embeddings.word_embeddings.weight"])
    assert model.config.label2id == {label: number for number, label in enumerate(labels)}


@pytest.mark.parametrize("name", ["bert", "bert-masked", "llama", "t5"])
def test_models_without_a_head_get_one(tiny_model, name):
    model, tokenizer, keeps_head, _ = load_classifier(str(tiny_model(name)), ["no", "yes"])
    assert not keeps_head
    assert model.config.num_labels == 2
    assert tokenizer.pad_token_id is not None
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_weights_in_half_precision_are_trained_in_single_precision(tiny_copy):
    half = {name: weight.bfloat16() for name, weight in weights(tiny_copy).items()}
    save_file(half, tiny_copy / "model.safetensors", {"format": "pt"})
    config = json.loads((tiny_copy / "config.json").read_text())
    (tiny_copy / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    model, _, _, _ = load_classifier(str(tiny_copy), ["no", "yes"])
    assert model.bert.pooler.dense.weight.dtype == torch.float32


def test_a_body_that_lacks_weights_is_refused(tiny_copy):
    kept = weights(tiny_copy)
    del kept["encoder.layer.0.output.dense.weight"]
    save_file(kept, tiny_copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(RuntimeFault, match="files of the base model lack weights") as caught:
        load_classifier(str(tiny_copy), ["no", "yes"])
    assert "bert.encoder.layer.0.output.dense.weight" in caught.value.detail
