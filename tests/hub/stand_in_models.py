"""Tiny models with random weights in the place of known ones. Tokenizers and sizes are those of tests/assets."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tests.assets import make_models
from tests.assets.make_models import SIZE
from tests.hub import stand_in_data
from tokenizers.models import WordPiece
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

LENGTH = 512
LLAMA = "meta-llama/Llama-2-7b-chat-hf"
# In the manner of Llama 2: the system's words stand inside of the first question.
TEMPLATE = """\
{%- set system = messages[0]['role'] == 'system' -%}
{%- set turns = messages[1:] if system else messages -%}
{%- for turn in turns -%}
{%- if (turn['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{- raise_exception('After an optional system message, user and assistant have to take turns') -}}
{%- endif -%}
{%- if turn['role'] == 'user' -%}
{{- bos_token + '[INST] ' -}}
{%- if loop.first and system -%}{{- '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' -}}{%- endif -%}
{{- turn['content'] + ' [/INST]' -}}
{%- else -%}
{{- ' ' + turn['content'] + ' ' + eos_token -}}
{%- endif -%}
{%- endfor -%}
"""


def distilbert(folder: Path) -> None:
    """A masked language model, to be tuned."""
    _distilbert(folder, DistilBertForMaskedLM, {})
    _card(folder, "fill-mask")


def review_classifier(folder: Path) -> None:
    """What tuning on reviews leaves behind."""
    labels = {0: "negative", 1: "positive"}
    names = {"id2label": labels, "label2id": {label: number for number, label in labels.items()}}
    _distilbert(folder, DistilBertForSequenceClassification, names)
    _card(folder, "text-classification", base_model="distilbert/distilbert-base-uncased")


def llama_chat(folder: Path) -> None:
    """A chat model that, as Llama 2, has a template and no padding token."""
    tokenizer = make_models.bytelevel("</s>", more=["<s>"], length=LENGTH)
    tokenizer.bos_token = "<s>"
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **SIZE,
    )
    make_models._save(folder, LlamaForCausalLM, config, tokenizer)
    _card(folder, "text-generation")


def llama_chat_adapter(folder: Path) -> None:
    """A LoRA adapter of the chat model, as tuning on news leaves it behind."""
    with tempfile.TemporaryDirectory() as base:
        llama_chat(Path(base))
        torch.manual_seed(42)
        config = LoraConfig(r=2, lora_alpha=4, task_type="CAUSAL_LM", init_lora_weights=False)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    file = folder / "adapter_config.json"
    settings = json.loads(file.read_text())
    settings["base_model_name_or_path"] = LLAMA  # only now: peft asks the network about a base by this name
    settings["target_modules"].sort()  # a set for peft
    file.write_text(json.dumps(settings, indent=2))
    _card(folder, "text-generation", library="peft", base_model=LLAMA)


def _distilbert(folder: Path, model_class: type[PreTrainedModel], names: dict[str, Any]) -> None:
    tokenizer = make_models.wordpiece()
    # Training it gives other pieces every time; these are always the same.
    words = sorted(set("abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'-%/{}()") | set(stand_in_data.words()))
    pieces = [*make_models.SPECIAL, *words, *("##" + word for word in words if len(word) == 1)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer.backend_tokenizer.model = WordPiece(vocabulary, unk_token="[UNK]")
    tokenizer.model_max_length = LENGTH
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    config = DistilBertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=LENGTH,
        dim=SIZE["hidden_size"],
        n_layers=SIZE["num_hidden_layers"],
        n_heads=SIZE["num_attention_heads"],
        hidden_dim=SIZE["intermediate_size"],
        **names,
    )
    make_models._save(folder, model_class, config, tokenizer)


def _card(folder: Path, task: str, library: str = "transformers", **more: str) -> None:
    facts = {"library_name": library, "pipeline_tag": task, **more}
    head = "".join(f"{name}: {value}\n" for name, value in facts.items())
    text = "A stand-in for tests: random weights in the shape of the model of this name.\n"
    (folder / "README.md").write_text(f"---\n{head}---\n{text}")
