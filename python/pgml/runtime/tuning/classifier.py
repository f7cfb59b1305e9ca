"""Load a base model as a classifier for given labels, with a head that fits them. Knows no rows and no training."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.reading import reading
from pgml.runtime.tasks.text_classification import prepare_tokenizer
from pgml.runtime.tuning.lora import HEADS


class Classifier(NamedTuple):
    """A model in single precision."""

    model: Any
    tokenizer: Any
    keeps_head: bool
    """Whether the head is the base model's own."""
    missing: set[str]
    """Weights that the base model does not have: they begin at random."""


def load_classifier(base: str, labels: list[str], *, remote_code: bool = False) -> Classifier:
    """A classifier for the labels.

    A base model with the very same labels keeps its head, its outputs in the order of `labels`.
    """
    options = reading(remote_code=remote_code)
    config = AutoConfig.from_pretrained(base, **options)
    former = [str(config.id2label[number]) for number in sorted(config.id2label)]
    is_classifier = any(str(name).endswith("ForSequenceClassification") for name in config.architectures or ())
    keeps_head = is_classifier and sorted(former) == labels
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    config.problem_type = "single_label_classification"
    model, info = AutoModelForSequenceClassification.from_pretrained(
        base,
        config=config,
        **options,
        use_safetensors=True,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    _refuse_missing(model, info["missing_keys"])
    if keeps_head:
        _reorder(_output_layer(model, len(labels)), [former.index(label) for label in labels])
    elif is_classifier and len(former) == len(labels):
        # Its shape fits, so the weights of other labels were loaded.
        _output_layer(model, len(labels)).reset_parameters()
    tokenizer = AutoTokenizer.from_pretrained(base, **options)
    prepare_tokenizer(tokenizer, model)
    return Classifier(model, tokenizer, keeps_head, set(info["missing_keys"]))


def adapted_head(model: Any, missing: set[str], lora_config: dict[str, Any]) -> dict[str, Any]:
    """The settings of an adapter that also holds, whole, what the base model lacks: its head, and sometimes a pooler.

    peft adds by itself what is called as one of HEADS.
    """
    body = f"{model.base_model_prefix}."
    modules = {name.rpartition(".")[0] if name.startswith(body) else name.partition(".")[0] for name in missing}
    modules -= set(HEADS)
    kept = list(dict.fromkeys([*(lora_config.get("modules_to_save") or []), *sorted(modules)]))
    return {**lora_config, "modules_to_save": kept or None}


def _refuse_missing(model: Any, missing: set[str]) -> None:
    # A model that was trained to fill in words has no pooler: as part of the head it starts from random weights.
    body = sorted(key for key in missing if key.startswith(f"{model.base_model_prefix}.") and ".pooler." not in key)
    if body:
        raise RuntimeFault(
            "files of the base model lack weights",
            sqlstate=INVALID_PARAMETER_VALUE,
            detail=f"Missing are {', '.join(body[:5])}{', …' if len(body) > 5 else ''}.",
        )


def _output_layer(model: Any, outputs: int) -> nn.Linear:
    """The last linear layer of the head."""
    body = f"{model.base_model_prefix}."
    layers = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == outputs and not name.startswith(body)
    ]
    return layers[-1]


@torch.no_grad()
def _reorder(layer: nn.Linear, order: list[int]) -> None:
    layer.weight.copy_(layer.weight[order].clone())
    if layer.bias is not None:
        layer.bias.copy_(layer.bias[order].clone())
