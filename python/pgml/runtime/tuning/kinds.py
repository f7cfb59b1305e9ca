"""The kinds of tuning, all of the same shape: what train.py calls, in this order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pgml.runtime.tuning.base_model import CAUSAL_TASKS

if TYPE_CHECKING:
    from pgml.runtime.tuning.channel import Channel
    from pgml.runtime.tuning.examples.tokenised import Count, Part
    from pgml.runtime.tuning.resuming.job_trainer import JobTrainer


class Kind(Protocol):
    """One job of a kind."""

    def load(self, channel: Channel) -> None:
        """Load the base model as what it is to become."""

    def tokenise(self, part: str, count: Count) -> Part:
        """Tokens of the part `train` or `test`."""

    def make_trainer(self, channel: Channel, train: Part, test: Part) -> JobTrainer:
        """What fits the model."""

    def evaluate(self, trainer: JobTrainer, test: Part) -> dict[str, Any]:
        """Metrics of the weights as they are stored."""

    def save(self, directory: Path) -> None:
        """Write what is stored."""

    def complete(self, directory: Path) -> None:
        """Write what is stored, but for the weights of a checkpoint, which are in the directory already."""


def kind_of(job: Path, plan: dict[str, Any], analysis: dict[str, Any]) -> Kind:
    """The kind of a plan's task."""
    if plan["task"] in CAUSAL_TASKS:
        from pgml.runtime.tuning.causal import CausalTuning  # noqa: PLC0415  needs what the other kind does not

        return CausalTuning(job, plan)
    from pgml.runtime.tuning.classification import Classification  # noqa: PLC0415  as above

    return Classification(job, plan, sorted(analysis["labels"]))
