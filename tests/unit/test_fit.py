"""What happens at the steps of a training."""

from __future__ import annotations

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from pgml.runtime.tuning.fit import Report


@pytest.mark.parametrize(
    ("first", "second", "better"),
    [
        ({"eval_f1": 1.0, "eval_loss": 0.5}, {"eval_f1": 1.0, "eval_loss": 0.02}, "second"),
        ({"eval_f1": 1.0, "eval_loss": 9.5}, {"eval_f1": 0.99999, "eval_loss": 0.02}, "first"),
    ],
)
def test_of_checkpoints_with_equal_scores_the_one_with_the_lower_loss_is_better(tmp_path, first, second, better):
    arguments = TrainingArguments(
        output_dir=str(tmp_path), metric_for_best_model="f1", greater_is_better=True, use_cpu=True
    )
    for metrics in (first, second):
        Report(channel=None).on_evaluate(arguments, TrainerState(), TrainerControl(), metrics=metrics)
    assert (first["eval_f1"] > second["eval_f1"]) == (better == "first")
