"""Fit a causal language model on packed examples. Knows Trainer and batches; knows nothing of files and of a job."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import EvalPrediction

from pgml.runtime.tuning.attention import NAME, packed
from pgml.runtime.tuning.examples.packing import Batch, attention_of, cut, lengths_of, trained_logits
from pgml.runtime.tuning.resuming.job_trainer import JobTrainer

TOKENS_AT_ONCE = 2048
"""Of whole examples. On a CPU larger pieces leave its cache; on a GPU this many keep it busy."""
LOGITS_AT_ONCE = 1 << 27
"""Half a gigabyte in single precision, a few times over: with a wide vocabulary a piece has fewer tokens."""


class CausalTrainer(JobTrainer):
    """Computes a batch piece by piece; its gradient is that of the whole, the mean over all trained tokens."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Has Trainer count the trained tokens of all batches of an optimizer step, and not divide the loss itself.
        self.model_accepts_loss_kwargs = True
        model: Any = self.model
        if attention_of(model) != NAME:
            self._tokens_at_once = 1  # example by example
            return
        vocabulary = model.config.get_text_config().vocab_size
        self._tokens_at_once = max(1, min(TOKENS_AT_ONCE, LOGITS_AT_ONCE // vocabulary))

    def training_step(self, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward for each piece."""
        losses = []
        for piece in cut(inputs, self._tokens_at_once):
            # Backward too: with checkpointing it computes attention once more.
            with packed(lengths_of(piece["position_ids"])):
                losses.append(super().training_step(model, piece, num_items_in_batch))
        return torch.stack(losses).sum()

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """The sum over the trained tokens, divided by those of the whole step."""
        logits, targets = trained_logits(model, inputs)
        smoothing = self.args.label_smoothing_factor
        loss = cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
        return loss / torch.as_tensor(num_items_in_batch, device=loss.device)

    @torch.no_grad()
    def prediction_step(
        self, model: Any, inputs: Batch, prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Sums instead of logits: loss, right tokens, tokens. All logits of an evaluation would fill the memory."""
        inputs = self._prepare_inputs(inputs)
        sums = torch.zeros(3, dtype=torch.float64)
        for piece in cut(inputs, self._tokens_at_once):
            with self.compute_loss_context_manager():
                logits, targets = trained_logits(model, piece)
            right = (logits.argmax(-1) == targets).sum()
            sums += torch.tensor([cross_entropy(logits, targets, reduction="sum"), right, len(targets)])
        return None, sums[None], sums[None]

    def floating_point_ops(self, inputs: Batch) -> int:
        """Six per parameter and token, and what attention takes, each example for itself."""
        model: Any = self.model
        config = model.config.get_text_config()
        pairs = sum(length**2 for length in lengths_of(inputs["position_ids"]))
        attention = 6 * config.num_hidden_layers * config.hidden_size * pairs
        return int(6 * inputs["input_ids"].numel() * model.num_parameters(exclude_embeddings=True) + attention)


def summarise(prediction: EvalPrediction) -> dict[str, float]:
    """Means over all held-out tokens that are to be predicted."""
    loss_sum, right, tokens = np.asarray(prediction.predictions).sum(axis=0).tolist()
    loss = loss_sum / tokens
    return {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), "token_accuracy": right / tokens}
