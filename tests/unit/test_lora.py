"""Adapters: what is trained, what is stored, and that a base with what was stored is the model that was measured."""

from __future__ import annotations

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, DistilBertConfig, DistilBertForSequenceClassification

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.tuning.classifier import adapted_head, load_classifier
from pgml.runtime.tuning.lora import add_adapter, check_adapter, count_parameters, round_adapter, save_adapter

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")  # peft asks for it

SETTINGS = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "init_lora_weights": False}


def chat(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model("llama-chat")).eval()


def test_only_the_adapter_is_trained(tiny_model):
    model = add_adapter(chat(tiny_model), SETTINGS, "CAUSAL_LM")
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert all("lora_" in name for name in trained)
    sizes = count_parameters(model)
    assert 0 < sizes["trainable_parameters"] < sizes["parameters"]


def test_a_base_with_what_was_stored_is_what_was_measured(tiny_model, tmp_path):
    model = add_adapter(chat(tiny_model), SETTINGS, "CAUSAL_LM").eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    round_adapter(model)
    expected = model(input_ids=ids).logits
    save_adapter(model, tmp_path, "tiny")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny"
    again = PeftModel.from_pretrained(chat(tiny_model), tmp_path).eval()
    torch.testing.assert_close(again(input_ids=ids).logits, expected)


@pytest.mark.parametrize("name", ["bert", "bert-masked", "llama", "bert-classifier"])
def test_an_adapted_classifier_brings_what_its_base_lacks(tiny_model, tmp_path, name):
    torch.manual_seed(1)
    base = str(tiny_model(name))
    loaded = load_classifier(base, ["no", "yes"])
    model = add_adapter(loaded.model, adapted_head(loaded.model, loaded.missing, SETTINGS), "SEQ_CLS").eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    round_adapter(model)
    expected = model(input_ids=ids).logits
    save_adapter(model, tmp_path, "tiny")
    assert any("lora_A" in key for key in load_file(tmp_path / "adapter_model.safetensors"))
    torch.manual_seed(2)  # another head, and another pooler
    again = PeftModel.from_pretrained(load_classifier(base, ["no", "yes"]).model, tmp_path).eval()
    torch.testing.assert_close(again(input_ids=ids).logits, expected)


def test_settings_are_tried_without_weights(tiny_model):
    config = chat(tiny_model).config
    check_adapter(config, AutoModelForCausalLM, {"r": 4, "target_modules": ["q_proj"]}, "CAUSAL_LM")
    with pytest.raises(RuntimeFault, match="does not fit the model"):
        check_adapter(config, AutoModelForCausalLM, {"r": 4, "target_modules": ["nothing"]}, "CAUSAL_LM")


def test_a_head_of_two_layers_is_trained_whole(tmp_path):
    config = DistilBertConfig(vocab_size=64, dim=32, hidden_dim=64, n_layers=1, n_heads=2)
    model = add_adapter(DistilBertForSequenceClassification(config), SETTINGS, "SEQ_CLS")
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.rpartition("model.")[2] for name in trained if "lora_" not in name} == {
        f"{layer}.modules_to_save.default.{part}"
        for layer in ("pre_classifier", "classifier")
        for part in ("weight", "bias")
    }
    assert any("attention.q_lin.lora_A" in name for name in trained)
