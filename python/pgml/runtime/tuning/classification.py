"""Tune a classifier of texts or of pairs: what is particular to it of a job's run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DataCollatorWithPadding, EvalPrediction

from pgml.runtime.tuning import artefacts, lora
from pgml.runtime.tuning.channel import Channel
from pgml.runtime.tuning.classifier import adapted_head, load_classifier
from pgml.runtime.tuning.earlier import check_labels
from pgml.runtime.tuning.examples.tokenised import Count, Part, tokenise
from pgml.runtime.tuning.fit import make_trainer, predict
from pgml.runtime.tuning.metrics import describe, summarise
from pgml.runtime.tuning.resuming.job_trainer import JobTrainer


class Classification:
    """One job; see `train.py` for the order of things."""

    def __init__(self, job: Path, plan: dict[str, Any], labels: list[str]) -> None:
        self._job = job
        self._plan = plan
        self._labels = labels
        self._lora: dict[str, Any] | None = plan["hyperparams"].get("lora_config")

    def load(self, channel: Channel) -> None:
        """Model and tokenizer, the model with an adapter if one is to be tuned."""
        adapter = self._plan["adapter"]
        if adapter is not None:
            check_labels(adapter, self._labels)
        loaded = load_classifier(self._plan["base"], self._labels, remote_code=self._plan["remote_code"])
        self.model, self._tokenizer = loaded.model, loaded.tokenizer
        if adapter is not None:
            channel.notice("training goes on from the weights of the adapter")
            self.model = lora.load_adapter(self.model, adapter)
            return
        if loaded.keeps_head:
            channel.notice("the model has these labels already, training goes on from its weights")
        if self._lora is not None:
            head = adapted_head(self.model, loaded.missing, self._lora)
            self.model = lora.add_adapter(self.model, head, "SEQ_CLS")

    def tokenise(self, part: str, count: Count) -> Part:
        """Tokens of the rows of a part."""
        tokenizer_args = self._plan["hyperparams"]["tokenizer_args"]
        return tokenise(self._job, part, self._tokenizer, self._labels, tokenizer_args, count)

    def make_trainer(self, channel: Channel, train: Part, test: Part) -> JobTrainer:
        """The Trainer for padded batches."""
        return make_trainer(
            channel,
            self.model,
            train,
            test,
            self._plan["hyperparams"]["training_args"],
            self._job / "output",
            data_collator=DataCollatorWithPadding(self._tokenizer),
            compute_metrics=_compute_metrics,
            preprocess_logits_for_metrics=_classes,
        )

    def evaluate(self, trainer: JobTrainer, test: Part) -> dict[str, Any]:
        """Metrics of the weights as they are stored, on the test part."""
        if self._lora is not None:
            lora.round_adapter(trainer.model)
        output = predict(trainer, test)
        values = output.metrics or {}
        described = describe(np.asarray(output.label_ids), np.asarray(output.predictions), self._labels)
        return {"loss": values["eval_loss"], **described, **lora.count_parameters(trainer.model)}

    def save(self, directory: Path) -> None:
        """The adapter alone, or everything."""
        if self._lora is None:
            artefacts.save_model(directory, self.model, self._tokenizer, self._about())
        else:
            artefacts.save_adapter(directory, self.model, self._about(), self._plan)

    def complete(self, directory: Path) -> None:
        """Write what belongs to the weights of a checkpoint."""
        if self._lora is None:
            artefacts.complete_model(directory, self._tokenizer, self._about())
        else:
            artefacts.complete_adapter(directory, self._about(), self._plan)

    def _about(self) -> dict[str, Any]:
        about = {"task": self._plan["task"], "tokenizer_args": self._plan["hyperparams"]["tokenizer_args"]}
        return about if self._lora is None else {**about, "labels": self._labels}


def _classes(logits: Any, _labels: torch.Tensor) -> torch.Tensor:
    """Class numbers instead of logits, so that an evaluation of many rows stays small."""
    # Some models give more than logits.
    scores: torch.Tensor = logits[0] if isinstance(logits, tuple) else logits
    return scores.argmax(dim=-1)


def _compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
    return summarise(np.asarray(prediction.label_ids), np.asarray(prediction.predictions))
