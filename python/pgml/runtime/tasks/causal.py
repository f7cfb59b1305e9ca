"""Load a decoder for text, and say what of a request becomes a prompt: what conversations and plain texts share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from pgml.runtime.conversations import ensure_chat_template
from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.generation.adapters import Adapters
from pgml.runtime.generation.choices import make_trie
from pgml.runtime.generation.linear import use_onednn
from pgml.runtime.generation.packed import PackedRunner, can_pack
from pgml.runtime.generation.sequences import Prompt
from pgml.runtime.generation.settings import Settings
from pgml.runtime.generation.single import SingleRunner
from pgml.runtime.tasks import LoadedModel, TaskSpec
from pgml.runtime.tasks.loading import load_pretrained

NO_LIMIT = 10**9
MEMORY_SHARE = 0.25
"""Of the machine's memory, for what is kept of the sequences that are being computed."""


def load(directory: str, task: TaskSpec) -> LoadedModel:
    """Read a decoder, and find out how its sequences can be computed together."""
    model = load_pretrained(AutoModelForCausalLM, directory, task)
    packed = can_pack(model.module)
    model.extra["runner"] = PackedRunner(model.module) if packed else SingleRunner(model.module)
    use_onednn(model.module)
    model.extra["adapters"] = Adapters(model.module, packed=packed)
    model.extra["most_tokens"] = _most_tokens(model.module)
    ensure_chat_template(model.tokenizer)
    return model


def attach(directory: str, task: TaskSpec, base: LoadedModel) -> LoadedModel:
    """Read an adapter onto a loaded model, whose weights and batches it shares."""
    adapters: Adapters = base.extra["adapters"]
    before = base.bytes
    name = adapters.attach(directory)
    template = Path(directory, "chat_template.jinja")
    extra = {
        **base.extra,
        "adapter": name,
        "bytes": base.bytes - before,
        "chat_template": template.read_text() if template.exists() else None,
        "release": lambda: adapters.detach(name),
    }
    return LoadedModel(base.module, base.tokenizer, task, extra)


def context_length(model: LoadedModel) -> int:
    """Tokens that prompt and answer may have together."""
    positions = getattr(model.module.config.get_text_config(), "max_position_embeddings", None)
    return int(positions or min(model.tokenizer.model_max_length, NO_LIMIT))


def end_tokens(model: LoadedModel) -> set[int]:
    """The tokens that end a text, by the model's configuration and its tokenizer."""
    configured = getattr(model.module.generation_config, "eos_token_id", None)
    ends = set(configured) if isinstance(configured, (list, tuple)) else {configured}
    return {int(token) for token in ends | {model.tokenizer.eos_token_id} if token is not None}


def _most_tokens(module: Any) -> int:
    """Tokens whose keys and values fit into a part of the memory."""
    config = module.config.get_text_config()
    queries = getattr(config, "num_attention_heads", None)
    if queries is None:
        return NO_LIMIT  # a model with a state, which does not grow
    heads = getattr(config, "num_key_value_heads", None) or queries
    size = getattr(config, "head_dim", None) or config.hidden_size // queries
    token = 2 * config.num_hidden_layers * heads * size * module.dtype.itemsize
    if module.device.type == "cuda":
        memory = torch.cuda.get_device_properties(module.device).total_memory
    else:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(memory * MEMORY_SHARE / token)


def make_prompt(model: LoadedModel, tokens: list[int], settings: Settings, usual_tokens: int, **options: Any) -> Prompt:
    """A prompt with what limits its answer; refused if it leaves no room for one."""
    context = context_length(model)
    if len(tokens) >= context:
        raise RuntimeFault(
            f"prompt of {len(tokens)} tokens is too long for the model's context of {context} tokens",
            sqlstate=INVALID_PARAMETER_VALUE,
            detail="Prompt and answer share the context.",
            hint="Shorten the prompt, or use a model with a longer context.",
        )
    wanted = settings.max_tokens
    if wanted is None:
        wanted = usual_tokens if settings.max_length is None else settings.max_length - len(tokens)
    if wanted < 1:
        raise RuntimeFault(
            f"prompt of {len(tokens)} tokens leaves no room within max_length of {settings.max_length}",
            sqlstate=INVALID_PARAMETER_VALUE,
            hint="Use max_tokens, which does not count the prompt.",
        )
    ids = {text: list(model.tokenizer(text, add_special_tokens=False).input_ids) for text in settings.choices}
    return Prompt(
        tokens=tokens,
        sampling=settings.sampling,
        max_tokens=min(wanted, context - len(tokens)),
        choices=make_trie(ids) if ids else None,
        adapter=model.extra.get("adapter"),
        **options,
    )
