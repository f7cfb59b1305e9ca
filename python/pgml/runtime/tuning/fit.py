"""Fit a classifier with transformers' Trainer and report each step. Knows no files of a job and no database."""

from __future__ import annotations

import math
import resource
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    DataCollatorWithPadding,
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.tuning.channel import Channel
from pgml.runtime.tuning.metrics import describe, summarise
from pgml.runtime.tuning.tokenised import Part
from pgml.runtime.tuning.training_args import at_run

NUMERIC_VALUE_OUT_OF_RANGE = "22003"
TIE_BREAK = 1e-9  # times a loss, less than any difference between two scores


class Report(TrainerCallback):
    """Send what happens, and stop when the loss is no number any more."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        """From here on time counts for the time left."""
        self._channel.progress(0, state.max_steps)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Send a row of pgml.logs."""
        logs = kwargs["logs"]
        row = {"step": state.global_step, "max_steps": state.max_steps, "timestamp": datetime.now(UTC).isoformat()}
        self._channel.send("log", logs={**logs, **row})
        for name in ("loss", "train_loss", "eval_loss"):
            if not math.isfinite(logs.get(name, 0.0)):
                raise RuntimeFault(
                    f"{name} became {logs[name]} at step {state.global_step} of {state.max_steps}",
                    sqlstate=NUMERIC_VALUE_OUT_OF_RANGE,
                    hint='Lower "learning_rate" in training_args, or train without fp16.',
                )

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Let the lower loss decide between checkpoints that score the same: small test parts tie often."""
        # Trainer looks for the best in these metrics next; they are logged already, and computed anew at the end.
        name, metrics = f"eval_{args.metric_for_best_model}", kwargs["metrics"]
        if args.greater_is_better and name in metrics:
            metrics[name] -= TIE_BREAK * metrics["eval_loss"]

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Send how far it is."""
        self._channel.progress(state.global_step, state.max_steps)


def make_trainer(
    channel: Channel, model: Any, tokenizer: Any, train: Part, test: Part, values: dict[str, Any], output: Path
) -> Trainer:
    """The Trainer for the arguments of a plan."""
    on_cpu = bool(values.get("use_cpu")) or not torch.cuda.is_available()
    if not on_cpu:
        # On the CPU the same seed gives the same model anyway.
        torch.use_deterministic_algorithms(True, warn_only=True)
    arguments = at_run({**values, "use_cpu": on_cpu}, _steps(values, len(train.rows)))
    trainer = Trainer(
        model=model,
        args=TrainingArguments(output_dir=str(output), **arguments),
        data_collator=DataCollatorWithPadding(tokenizer),
        train_dataset=train.rows,
        eval_dataset=test.rows,
        compute_metrics=_compute_metrics,
        preprocess_logits_for_metrics=_classes,
        callbacks=[Report(channel)],
    )
    # It prints each row of logs.
    trainer.remove_callback(PrinterCallback)
    return trainer


def fit(trainer: Trainer) -> dict[str, Any]:
    """Train, and load the best checkpoint's weights at the end if checkpoints are kept; give what training took."""
    taken = trainer.train().metrics
    names = ("train_loss", "train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "epoch")
    best = {"best_step": trainer.state.best_global_step} if trainer.state.best_global_step else {}
    return {**{name: taken[name] for name in names if name in taken}, "steps": trainer.state.global_step, **best}


def evaluate(trainer: Trainer, test: Part, labels: list[str]) -> dict[str, Any]:
    """Metrics of the weights as they are now, on the test part."""
    output = trainer.predict(test.rows, metric_key_prefix="eval")
    values = output.metrics or {}
    if trainer.args.eval_strategy == "no":
        trainer.log(values)
    return {
        "loss": values["eval_loss"],
        **describe(np.asarray(output.label_ids), np.asarray(output.predictions), labels),
    }


def peak_memory(trainer: Trainer) -> dict[str, int]:
    """Bytes: of the process, and on the GPU if one was used."""
    peak = {"peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if trainer.args.device.type == "cuda":
        peak["peak_gpu_memory_bytes"] = torch.cuda.max_memory_allocated()
    return peak


def _steps(values: dict[str, Any], rows: int) -> int:
    if values.get("max_steps", -1) > 0:
        return int(values["max_steps"])
    batch: int = values["per_device_train_batch_size"] * values.get("gradient_accumulation_steps", 1)
    return math.ceil(math.ceil(rows / batch) * float(values["num_train_epochs"]))


def _classes(logits: Any, _labels: torch.Tensor) -> torch.Tensor:
    """Class numbers instead of logits, so that an evaluation of many rows stays small."""
    # Some models give more than logits.
    scores: torch.Tensor = logits[0] if isinstance(logits, tuple) else logits
    return scores.argmax(dim=-1)


def _compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
    return summarise(np.asarray(prediction.label_ids), np.asarray(prediction.predictions))
