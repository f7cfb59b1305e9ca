"""Compute many sequences of different lengths in one pass of a model, without padding.

The tokens of all sequences go through the model as one row, each with its position in its own sequence. Only attention
has to tell them apart: `_attend` takes the place of the model's attention function, and lets each sequence see itself
alone, with what it keeps of its earlier tokens. A model that this cannot be done with is told by `can_pack`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "pgml_packed"
ROOM = 64
GROWTH = 1.5
LAYERS = {"attention", "full_attention", "sliding_attention"}
SCALED_BY_LENGTH = {"dynamic", "longrope"}
"""Rotary embeddings that depend on the length of the row, which here holds many sequences."""
UNKNOWN = ("cache", "position_bias", "s_aux", "softcap")
"""What an attention function may be asked for beside what is done here."""


class Keys:
    """Keys and values of one sequence, by layer."""

    def __init__(self) -> None:
        self.length = 0
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def append(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """All keys and values of a layer, with the new ones, as (heads, tokens, size)."""
        end = self.length + keys.shape[1]
        kept = self.layers.get(layer)
        if kept is None or kept[0].shape[1] < end:
            old = kept or (None, None)
            kept = self.layers[layer] = (self._grown(old[0], keys, end), self._grown(old[1], values, end))
        kept[0][:, self.length : end] = keys
        kept[1][:, self.length : end] = values
        return kept[0][:, :end], kept[1][:, :end]

    def copy(self) -> Keys:
        """The same again, for another sequence with the same beginning."""
        other = Keys()
        other.length = self.length
        other.layers = {layer: (keys.clone(), values.clone()) for layer, (keys, values) in self.layers.items()}
        return other

    def _grown(self, old: torch.Tensor | None, new: torch.Tensor, end: int) -> torch.Tensor:
        capacity = end + ROOM if old is None else max(end + ROOM, int(old.shape[1] * GROWTH))
        grown = new.new_empty(new.shape[0], capacity, new.shape[2])
        if old is not None:
            grown[:, : self.length] = old[:, : self.length]
        return grown


class PackedRunner:
    """Runs a model whose attention function was replaced. `chunks`: a prompt may come in parts."""

    chunks = True

    def __init__(self, module: Any) -> None:
        AttentionInterface.register(NAME, _attend)
        module.set_attn_implementation(NAME)
        self._module = module

    def start(self) -> Keys:
        """The state of a new sequence."""
        return Keys()

    def fork(self, state: Keys) -> Keys:
        """The state of a sequence that goes on as another did."""
        return state.copy()

    @torch.inference_mode()
    def forward(self, parts: list[tuple[Keys, list[int]]]) -> torch.Tensor:
        """Read the next tokens of some sequences: the scores for what follows the last of each."""
        device = self._module.device
        tokens = [token for _, new in parts for token in new]
        positions = [keys.length + number for keys, new in parts for number in range(len(new))]
        ends = torch.tensor([len(new) for _, new in parts]).cumsum(0) - 1
        output = self._module(
            input_ids=torch.tensor([tokens], device=device),
            position_ids=torch.tensor([positions], device=device),
            use_cache=False,
            logits_to_keep=ends.to(device),
            packed=[(keys, len(new)) for keys, new in parts],
        )
        for keys, new in parts:
            keys.length += len(new)
        logits: torch.Tensor = output.logits[0]
        return logits


def can_pack(module: Any) -> bool:
    """Whether packing gives what the model gives; tried on two short sequences where nothing rules it out."""
    config = module.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = {rope.get("rope_type"), *(part.get("rope_type") for part in rope.values() if isinstance(part, dict))}
    if (
        not module._can_set_attn_implementation()  # noqa: SLF001 the only place where transformers tells
        or not set(getattr(config, "layer_types", None) or ()) <= LAYERS
        or getattr(config, "is_encoder_decoder", False)
        or kinds & SCALED_BY_LENGTH
    ):
        return False
    usual = config._attn_implementation  # noqa: SLF001 as above
    vocabulary = config.vocab_size
    first, second = [token % vocabulary for token in (5, 9, 2, 14)], [token % vocabulary for token in (11, 3, 7)]
    try:
        wanted = [_last_logits(module, tokens) for tokens in (first, second)]
        runner = PackedRunner(module)
        states = [runner.start(), runner.start()]
        runner.forward([(states[0], first[:2]), (states[1], second[:-1])])
        found = runner.forward([(states[0], first[2:]), (states[1], second[-1:])])
        pairs = zip(wanted, found, strict=True)
        same = all(torch.allclose(a, b, rtol=0.01, atol=0.01 * float(a.std())) for a, b in pairs)
    except Exception:  # noqa: BLE001 whatever a model raises that knows nothing of packing
        same = False
    module.set_attn_implementation(usual)
    return same


@torch.inference_mode()
def _last_logits(module: Any, tokens: list[int]) -> torch.Tensor:
    logits: torch.Tensor = module(input_ids=torch.tensor([tokens], device=module.device), use_cache=False).logits[0, -1]
    return logits


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001 there is none, but it is handed over
    *,
    packed: list[tuple[Keys, int]],
    scaling: float | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of each sequence to itself; tensors are (1, heads, tokens, size)."""
    if any(options.get(name) is not None for name in UNKNOWN):
        raise NotImplementedError
    outputs = []
    start = 0
    for state, count in packed:
        part = slice(start, start + count)
        keys, values = state.append(module.layer_idx, key[0, :, part], value[0, :, part])
        outputs.append(_attend_one(query[:, :, part], keys[None], values[None], scaling, sliding_window))
        start += count
    return torch.cat(outputs, 1), None


def _attend_one(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float | None, window: int | None
) -> torch.Tensor:
    count, total = query.shape[2], keys.shape[2]
    if count == 1:
        if window is not None:
            keys, values = keys[:, :, -window:], values[:, :, -window:]
        # The query heads that share a key head are to it like so many queries.
        grouped = query.reshape(1, keys.shape[1], -1, query.shape[-1])
        output = scaled_dot_product_attention(grouped, keys, values, scale=scaling)
        return output.reshape(1, 1, query.shape[1], values.shape[-1])
    mask = None
    if total > count or (window is not None and total > window):
        places = torch.arange(total, device=query.device)
        ends = torch.arange(total - count, total, device=query.device)[:, None]
        mask = places <= ends
        if window is not None:
            mask &= places > ends - window
    output = scaled_dot_product_attention(
        query,
        keys,
        values,
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query.shape[1] != keys.shape[1],
    )
    return output.transpose(1, 2)
