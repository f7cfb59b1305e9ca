"""Fit a model with transformers' Trainer and report each step. Knows no files of a job and no database."""

from __future__ import annotations

import math
import resource
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import PredictionOutput

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.tuning.arguments.training_args import at_run
from pgml.runtime.tuning.channel import Channel
from pgml.runtime.tuning.examples.samples import Samples
from pgml.runtime.tuning.examples.tokenised import Part
from pgml.runtime.tuning.resuming.checkpoints import Checkpoint
from pgml.runtime.tuning.resuming.job_trainer import JobTrainer

NUMERIC_VALUE_OUT_OF_RANGE = "22003"
TIE_BREAK = 1e-9  # times a loss, less than any difference between two scores


class Report(TrainerCallback):
    """Send what happens, and stop when the loss is no number any more."""

    def __init__(self, channel: Channel, samples: Samples | None = None) -> None:
        self._channel = channel
        self._samples = samples

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        """From here on time counts for the time left."""
        self._channel.progress(state.global_step, state.max_steps)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Send a row of pgml.logs."""
        logs = kwargs["logs"]
        self._send_row(state, logs)
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
        if self._samples is not None:
            self._send_row(state, {"eval_samples": self._samples.answer(kwargs["model"]), "epoch": state.epoch})

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Send how far it is."""
        self._channel.progress(state.global_step, state.max_steps)

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let the training be ended during an evaluation too."""
        self._channel.may_end()

    def _send_row(self, state: TrainerState, logs: dict[str, Any]) -> None:
        row = {"step": state.global_step, "max_steps": state.max_steps, "timestamp": datetime.now(UTC).isoformat()}
        self._channel.send("log", logs={**logs, **row})


def make_trainer(
    channel: Channel,
    model: Any,
    train: Part,
    test: Part,
    values: dict[str, Any],
    output: Path,
    *,
    trainer_class: type[JobTrainer] = JobTrainer,
    samples: Samples | None = None,
    **functions: Any,
) -> JobTrainer:
    """The Trainer for the arguments of a plan; `functions` are those of the kind of model."""
    on_cpu = bool(values.get("use_cpu")) or not torch.cuda.is_available()
    if not on_cpu:
        # On the CPU the same seed gives the same model anyway.
        torch.use_deterministic_algorithms(True, warn_only=True)
    arguments = at_run({**values, "use_cpu": on_cpu}, _steps(values, len(train.rows)))
    trainer = trainer_class(
        model=model,
        args=TrainingArguments(output_dir=str(output), **arguments),
        train_dataset=train.rows,
        eval_dataset=test.rows,
        callbacks=[Report(channel, samples)],
        **functions,
    )
    # It prints each row of logs.
    trainer.remove_callback(PrinterCallback)
    return trainer


def fit(trainer: JobTrainer, notes: dict[str, Any], checkpoint: Checkpoint | None = None) -> dict[str, Any]:
    """Train, and load the best checkpoint's weights at the end if checkpoints are kept; give what training took."""
    taken = trainer.fit(notes, checkpoint)
    names = ("train_loss", "train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "epoch")
    best = {"best_step": trainer.state.best_global_step} if trainer.state.best_global_step else {}
    return {**{name: taken[name] for name in names if name in taken}, "steps": trainer.state.global_step, **best}


def predict(trainer: JobTrainer, test: Part) -> PredictionOutput:
    """What the weights as they are now give for the test part; logged if no evaluation was."""
    output = trainer.predict(test.rows, metric_key_prefix="eval")
    if trainer.args.eval_strategy == "no":
        trainer.log(output.metrics or {})
    return output


def final_metrics(trainer: JobTrainer, test: Part) -> dict[str, Any]:
    """Metrics of the weights as they are now, on the test part, without the prefix."""
    values = predict(trainer, test).metrics or {}
    speed = ("runtime", "per_second")
    return {name.removeprefix("eval_"): value for name, value in values.items() if not name.endswith(speed)}


def peak_memory(trainer: JobTrainer) -> dict[str, int]:
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
