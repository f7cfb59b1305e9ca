"""A Trainer whose checkpoints hold all that is needed to go on exactly, and that goes on from them.

Knows Trainer; knows nothing of a job's request, of channels and of the kinds of models.
"""

from __future__ import annotations

import base64
import time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from transformers import (
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import SaveStrategy, rotate_checkpoints

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED, RuntimeFault
from pgml.runtime.tuning import lora
from pgml.runtime.tuning.resuming import checkpoints
from pgml.runtime.tuning.resuming.checkpoints import Checkpoint

SECONDS_BETWEEN_CHECKPOINTS = 900.0
"""An epoch may take hours; so long is the most that is lost when training is cut short in the middle of it."""


class JobTrainer(Trainer):
    """Trains once, from the beginning or from a checkpoint: the weights are the same in the end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Trainer would remove the older checkpoints before it is noted that the new one is whole.
        self._kept, self.args.save_total_limit = self.args.save_total_limit, None
        self._output = Path(str(self.args.output_dir))
        self._notes: dict[str, Any] = {"base_name": None, "base_revision": None}
        self._checkpoint: Checkpoint | None = None
        self._seconds_before = 0.0
        self._began = self._saved = time.monotonic()
        self._generator_of_epoch = torch.get_rng_state()
        self.add_callback(_Moments(self))

    def fit(self, notes: dict[str, Any], checkpoint: Checkpoint | None = None) -> dict[str, Any]:
        """Train and give the metrics; `notes` are written into each checkpoint."""
        self._notes, self._checkpoint = notes, checkpoint
        if checkpoint is None:
            return self.train().metrics
        self.args.eval_on_start = False
        try:
            return self.train(resume_from_checkpoint=str(checkpoint.path)).metrics
        except UnpicklingError as error:
            raise RuntimeFault(
                "a file of the checkpoint holds more than numbers, and is not read",
                sqlstate=FEATURE_NOT_SUPPORTED,
                detail=f"{str(error).splitlines()[0].rstrip('.')}."[:400],
            ) from error

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Let the last row speak of the whole run, not only of the part of it since the checkpoint."""
        if "train_runtime" in logs:
            share = logs["train_runtime"] / max(logs["train_runtime"] + self._seconds_before, 1e-9)
            logs["train_runtime"] = round(logs["train_runtime"] + self._seconds_before, 4)
            for name in ("train_samples_per_second", "train_steps_per_second"):
                logs[name] = round(logs[name] * share, 3)
        super().log(logs, start_time)

    def begin(self) -> None:
        """Put what Trainer keeps for its log rows back to where it was at the checkpoint."""
        self._began = self._saved = time.monotonic()
        if self._checkpoint is None:
            return
        record = self._checkpoint.record
        if "losses" in record:  # else it is not of a job
            self._total_loss_scalar, since_log, self._globalstep_last_logged = record["losses"]
            self._tr_loss.fill_(since_log)
            self._initial_global_step = 0
            self._seconds_before = record["seconds"]
        # Steps between rows and evaluations are those of the arguments, which may be others than at the checkpoint.
        self.state.compute_steps(self.args, self.state.max_steps)  # type: ignore[no-untyped-call]  # of transformers
        self._find_best()

    def begin_epoch(self) -> None:
        """Remember what the order of the rows is drawn with; in the first epoch that goes on it is what it was."""
        checkpoint, self._checkpoint = self._checkpoint, None
        if checkpoint is not None and float(self.state.epoch).is_integer():
            self._load_rng_state(str(checkpoint.path))  # as Trainer does next
        elif checkpoint is not None and "generator_of_epoch" in checkpoint.record:
            state = base64.b64decode(checkpoint.record["generator_of_epoch"])
            torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
        self._generator_of_epoch = torch.get_rng_state()

    def is_due(self) -> bool:
        """Whether it is time for a checkpoint, where the arguments leave open how many there are."""
        leaves_open = self.args.save_strategy in (SaveStrategy.EPOCH, SaveStrategy.BEST)
        is_old = time.monotonic() - self._saved > SECONDS_BETWEEN_CHECKPOINTS
        return leaves_open and is_old and not self.args.save_only_model

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # After a checkpoint of the last step, within an epoch, Trainer would do one more.
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)  # type: ignore[no-untyped-call]  # of transformers
        self.control.should_training_stop |= self.state.global_step >= self.state.max_steps

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        # Without what Trainer adds: its arguments, pickled.
        directory, model = Path(output_dir) if output_dir else self._output, self.model
        if isinstance(model, PreTrainedModel):
            # By the names of the model's parts, which is how checkpoints are read; some files in use have former names.
            model.save_pretrained(directory, save_original_format=False)
        else:
            lora.write_adapter(model, directory, self._notes["base_name"], self._notes["base_revision"])

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = checkpoints.folder_of(self._output, self.state.global_step)
        checkpoints.unseal(folder)
        super()._save_checkpoint(model, trial)
        checkpoints.seal(folder, {**self._notes, **self._position()})
        rotate_checkpoints(str(self._output), self._kept, self.state.best_model_checkpoint)
        self._saved = time.monotonic()

    def _position(self) -> dict[str, Any]:
        """What Trainer does not save of where it is."""
        return {
            "losses": [self._total_loss_scalar, self._tr_loss.item(), self._globalstep_last_logged],
            "seconds": round(self._seconds_before + time.monotonic() - self._began, 3),
            "generator_of_epoch": base64.b64encode(self._generator_of_epoch.numpy().tobytes()).decode(),
        }

    def _find_best(self) -> None:
        """The best checkpoint is one of this job, wherever the state says that it is."""
        self.state.best_model_checkpoint = None
        if self.state.best_global_step is None:
            return
        folder = checkpoints.folder_of(self._output, self.state.best_global_step)
        if checkpoints.read(folder) is not None:
            self.state.best_model_checkpoint = str(folder)
        elif self.args.load_best_model_at_end:
            self.state.best_metric = self.state.best_global_step = None


class _Moments(TrainerCallback):
    """Where Trainer lets others take part."""

    def __init__(self, trainer: JobTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        """All is loaded."""
        self._trainer.begin()

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        """The order of the rows is drawn next."""
        self._trainer.begin_epoch()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        """Whether to save is decided next."""
        control.should_save = control.should_save or self._trainer.is_due()
