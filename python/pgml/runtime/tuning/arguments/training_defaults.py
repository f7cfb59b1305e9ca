"""What `training_args` are where nothing is said, by the kind of model that is trained. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any

DEFAULTS: dict[str, Any] = {
    "num_train_epochs": 3.0,
    "eval_strategy": "epoch",
    "save_total_limit": 1,
    "seed": 42,
    "warmup_steps": 0.1,
    "weight_decay": 0.01,
}


@dataclasses.dataclass(frozen=True)
class Profile:
    """What differs between kinds of models: defaults, and the metrics that their evaluations have, the best first."""

    defaults: dict[str, Any]
    metrics: tuple[str, ...]

    @property
    def all_metrics(self) -> list[str]:
        """Sorted, as messages name them."""
        return sorted(self.metrics)


CLASSIFIER = Profile(
    {"per_device_train_batch_size": 16, "per_device_eval_batch_size": 32},
    ("f1", "accuracy", "loss", "precision", "recall"),
)
LANGUAGE_MODEL = Profile(
    # An answer has many tokens to learn from where a class is one, so fewer rows make a step.
    {"per_device_train_batch_size": 8, "per_device_eval_batch_size": 8},
    ("loss", "perplexity", "token_accuracy"),
)
LOWER_IS_BETTER = ("loss", "perplexity")


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is trained: the kind of model, its hidden size if that is known, and whether all of it or an adapter."""

    profile: Profile = CLASSIFIER
    width: int | None = None
    adapts: bool = False


def with_defaults(values: dict[str, Any], subject: Subject) -> dict[str, Any]:
    """Add the defaults that serve; the best checkpoint is kept if there is an evaluation to tell it by."""
    rate = adapter_learning_rate(subject.width) if subject.adapts else default_learning_rate(subject.width)
    values = {**DEFAULTS, **subject.profile.defaults, "learning_rate": rate, **values}
    evaluates = values["eval_strategy"]
    values.setdefault("save_strategy", evaluates)
    if evaluates != "no" and values["save_strategy"] in (evaluates, "best"):
        values.setdefault("load_best_model_at_end", True)
    if values.get("load_best_model_at_end") or values["save_strategy"] == "best":
        values["metric_for_best_model"] = values.get("metric_for_best_model") or subject.profile.metrics[0]
        if values["metric_for_best_model"].removeprefix("eval_") in LOWER_IS_BETTER:
            values.setdefault("greater_is_better", False)
    return values


def default_learning_rate(width: int | None) -> float:
    """The usual 5e-5 for a model as wide as BERT base; a narrow model needs a higher rate to learn as fast.

    >>> default_learning_rate(768), default_learning_rate(384), default_learning_rate(4096), default_learning_rate(32)
    (5e-05, 0.0002, 1e-05, 0.0005)
    """
    rate = 5e-5 * (768 / (width or 768)) ** 2
    return float(f"{min(max(rate, 1e-5), 5e-4):.1e}")


def adapter_learning_rate(width: int | None) -> float:
    """The usual 2e-4 for an adapter of a model of some 7 billion parameters; more for a narrow one, as above.

    >>> adapter_learning_rate(4096), adapter_learning_rate(576), adapter_learning_rate(32)
    (0.0002, 0.00053, 0.001)
    """
    return float(f"{min(2e-4 * (4096 / (width or 4096)) ** 0.5, 1e-3):.1e}")
