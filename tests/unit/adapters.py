"""Adapters for the tests: random LoRA weights on a tiny model, saved as pgml saves them."""

from __future__ import annotations

import json
import warnings

import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from pgml.runtime.bases import weights_digest


def make_adapter(base, target, seed, labels=None, config=None, **settings):
    """An adapter directory; with `settings` it has a pgml.json as pgml.tune writes it."""
    torch.manual_seed(seed)
    if labels:
        auto, kind, more = AutoModelForSequenceClassification, TaskType.SEQ_CLS, {"num_labels": len(labels)}
    else:
        auto, kind, more = AutoModelForCausalLM, TaskType.CAUSAL_LM, {}
    usual = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "init_lora_weights": False}
    config = LoraConfig(task_type=kind, **usual, **(config or {}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that is going away
        model = get_peft_model(auto.from_pretrained(base, **more), config)
    model.save_pretrained(target)
    (target / "README.md").unlink(missing_ok=True)
    if settings:
        named = {"name": base.name, "revision": None, "digest": weights_digest(str(base))}
        extra = {"labels": labels} if labels else {}
        text = {"format": 1, "tokenizer_args": {}, "pgml_version": "0.1.0", "base": named, **extra, **settings}
        (target / "pgml.json").write_text(json.dumps(text))
    return target
