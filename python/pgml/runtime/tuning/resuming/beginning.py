"""Where a job's training begins: at its newest checkpoint, at one of another job, or anew.

Knows plans and checkpoints; trains nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.tuning.channel import Channel
from pgml.runtime.tuning.resuming import checkpoints
from pgml.runtime.tuning.resuming.checkpoints import Checkpoint
from pgml.runtime.tuning.resuming.wanted_checkpoint import KEY, OF_THE_HUB

UNCOMPARED = (KEY, *OF_THE_HUB)


def begin(
    channel: Channel, job: Path, plan: dict[str, Any], analysis: dict[str, Any], *, resume: bool
) -> Checkpoint | None:
    """The checkpoint from which training goes on; None if it starts anew."""
    checkpoint = _go_on(channel, job / "output", plan) if resume else None
    if checkpoint is None and plan["checkpoint"] is not None:
        checkpoint = _take_over(channel, job / "output", Path(plan["checkpoint"]), notes_of(plan, analysis))
    return checkpoint


def _go_on(channel: Channel, output: Path, plan: dict[str, Any]) -> Checkpoint | None:
    """The newest checkpoint of a job that was cut short, if it has any. Says so either way."""
    found = checkpoints.newest(output)
    checkpoint = found if found is not None and found.can_go_on else None
    checkpoints.discard_rest(output, checkpoint)
    channel.send("resumed", step=checkpoint.step if checkpoint else 0)
    if checkpoint is None and plan["checkpoint"] is None:
        channel.notice(f"training starts anew, because {_reason(plan, found)}")
    return checkpoint


def _take_over(channel: Channel, output: Path, source: Path, notes: dict[str, Any]) -> Checkpoint:
    """The checkpoint of another job, from which this one is to go on as if it were that one."""
    checkpoint = checkpoints.adopt(source, output)
    record = checkpoint.record
    if "labels" in notes and record.get("labels", notes["labels"]) != notes["labels"]:
        raise RuntimeFault(
            f"the rows have other labels than checkpoint {source.name}",
            sqlstate=INVALID_PARAMETER_VALUE,
            hint='Train on the rows that it was made of, or leave out "resume_from_checkpoint".',
        )
    if "digest" in record and record["digest"] != notes["digest"]:
        channel.notice(f"the rows, or their order, are not those of checkpoint {source.name}")
    if others := _differences(record.get("training_args"), notes["training_args"]):
        channel.notice(f"training_args that are others than at checkpoint {source.name}: {', '.join(others)}")
    channel.notice(f"training goes on after step {checkpoint.step} of checkpoint {source.name}")
    return checkpoint


def _differences(former: Any, present: dict[str, Any]) -> list[str]:
    if not isinstance(former, dict):
        return []
    names = sorted(former.keys() | present.keys())
    return [name for name in names if former.get(name) != present.get(name) and not name.startswith(UNCOMPARED)]


def notes_of(plan: dict[str, Any], analysis: dict[str, Any]) -> dict[str, Any]:
    """What is noted in a checkpoint of the job it is of."""
    labels = {"labels": sorted(analysis["labels"])} if "labels" in analysis else {}
    return {
        "task": plan["task"],
        "base_name": plan["base_name"],
        "base_revision": plan["base_revision"],
        "training_args": plan["hyperparams"]["training_args"],
        "digest": analysis["digest"],
        **labels,
    }


def _reason(plan: dict[str, Any], found: Checkpoint | None) -> str:
    if found is not None:
        return 'checkpoints hold only weights with "save_only_model" in training_args'
    if plan["hyperparams"]["training_args"]["save_strategy"] == "no":
        return 'there are no checkpoints with "save_strategy": "no" in training_args'
    return "it was cut short before the first checkpoint"
