"""Pack the examples of a batch into one row without padding, none of which sees another.

Positions start at 0 with each example, and attention is computed example by example (attention.py). So a token costs
the same whatever else is in its batch, and an optimizer step is the same as without packing. Knows models, but no files
and no Trainer.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch

from pgml.runtime.tuning import attention
from pgml.runtime.tuning.examples.makers import IGNORED

PROBES = (5, 9)
"""Lengths of the examples that are packed to see whether a model keeps them apart."""
Batch = dict[str, torch.Tensor]


def collate(rows: list[dict[str, Any]]) -> Batch:
    """One row of all examples; `shift_labels` are the tokens to predict, each at the position that predicts it."""
    ids = torch.tensor([token for row in rows for token in row["input_ids"]])
    positions = torch.cat([torch.arange(len(row["input_ids"])) for row in rows])
    labels = torch.tensor([label for row in rows for label in [*row["labels"][1:], IGNORED]])
    # `labels` has Trainer count the tokens that are trained; it counts those of shift_labels.
    return {name: value[None] for name, value in _named(ids, positions, labels).items()}


def _named(ids: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor) -> Batch:
    return {"input_ids": ids, "position_ids": positions, "labels": labels, "shift_labels": labels}


def lengths_of(position_ids: torch.Tensor) -> list[int]:
    """The lengths of the examples that a row of positions holds."""
    starts = (position_ids[0] == 0).nonzero().flatten().tolist()
    return [end - start for start, end in zip(starts, [*starts[1:], position_ids.shape[1]], strict=True)]


def cut(batch: Batch, tokens: int) -> Iterator[Batch]:
    """The batch in pieces of whole examples with at most so many tokens, or of one example with more."""
    start = end = 0
    for length in lengths_of(batch["position_ids"]):
        if end > start and end + length - start > tokens:
            yield {name: value[:, start:end] for name, value in batch.items()}
            start = end
        end += length
    yield {name: value[:, start:end] for name, value in batch.items()}


def trained_logits(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits in single precision at the positions that predict a trained token, and these tokens."""
    targets = batch["shift_labels"][0]
    wanted = (targets != IGNORED).nonzero().flatten()
    accepted = inspect.signature(get_base_model(model).forward).parameters
    arguments: dict[str, Any] = {"input_ids": batch["input_ids"], "use_cache": False}
    if "position_ids" in accepted:
        arguments["position_ids"] = batch["position_ids"]
    if "logits_to_keep" in accepted:
        # Most tokens of a conversation are not trained, and the vocabulary is the widest layer.
        arguments["logits_to_keep"] = wanted
    with attention.packed(lengths_of(batch["position_ids"])):
        logits = model(**arguments).logits[0]
    return (logits if "logits_to_keep" in accepted else logits[wanted]).float(), targets[wanted]


def attention_of(model: Any) -> str:
    """The name of the attention that the model computes with."""
    return str(get_base_model(model).config._attn_implementation)  # noqa: SLF001  there is no other place


def get_base_model(model: Any) -> Any:
    """The model of transformers, without what adapts it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@torch.no_grad()
def computes_the_same(model: Any) -> bool:
    """Whether the model keeps packed examples apart, tried out: one with a state of its own mixes them."""
    if set(getattr(model.config.get_text_config(), "layer_types", None) or ()) - attention.KINDS:
        return False
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.get_text_config().vocab_size
    rows = [
        {"input_ids": ids, "labels": ids}
        for ids in (torch.randint(vocabulary, (length,), generator=generator).tolist() for length in PROBES)
    ]
    before, was_training = attention_of(model), model.training
    model.eval()
    apart = torch.cat(
        [model(input_ids=torch.tensor([row["input_ids"]], device=model.device)).logits[0, :-1].float() for row in rows]
    )
    try:
        model.set_attn_implementation(attention.NAME)
        packed_logits, _ = trained_logits(
            model, {name: value.to(model.device) for name, value in collate(rows).items()}
        )
        # Of the second example: it would see the first. In half precision sums in another order differ by hundredths.
        difference = (packed_logits - apart)[PROBES[0] - 1 :].abs().mean() / apart.std()
        return bool(difference < (0.1 if model.dtype.itemsize < 4 else 0.001))
    except (TypeError, ValueError, IndexError):
        return False
    finally:
        model.set_attn_implementation(before)
        model.train(was_training)
