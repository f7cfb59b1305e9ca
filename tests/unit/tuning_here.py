"""Run tuning jobs in this process: faster than a trainer's own, and it can be killed at any step."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from pgml.runtime.tuning.examples.progress import Tokenising
from pgml.runtime.tuning.fit import fit
from pgml.runtime.tuning.kinds import kind_of
from pgml.runtime.tuning.resuming.beginning import begin, notes_of


class Killed(Exception):
    """Stands for SIGKILL in this process."""


class Channel:
    """Takes what a trainer sends, and kills it after the loss of a step."""

    def __init__(self, last_step=None):
        self.sent = []
        self._last_step = last_step

    def send(self, event, payload=b"", **header):
        self.sent.append({"event": event, **header})
        if event == "log" and "loss" in header["logs"] and header["logs"]["step"] == self._last_step:
            raise Killed

    def may_end(self):
        pass

    def notice(self, message):
        self.send("notice", message=message)

    def progress(self, step, max_steps):
        pass


@dataclass
class Outcome:
    """What is left of a run in this process."""

    model: Any
    weights: dict[str, torch.Tensor]
    metrics: dict[str, Any]
    sent: list[dict[str, Any]]
    output: Path

    @property
    def notices(self) -> list[str]:
        """What it said."""
        return [frame["message"] for frame in self.sent if frame["event"] == "notice"]


def run(job: Path, last_step: int | None = None, *, resume: bool = False) -> Outcome:
    """What `train.py` does, in this process; killed after the loss of a step is sent, if one is given."""
    request = json.loads((job / "job.json").read_text())
    plan, analysis = request["plan"], request["analysis"]
    channel = Channel(last_step)
    checkpoint = begin(channel, job, plan, analysis, resume=resume)
    kind = kind_of(job, plan, analysis)
    set_seed(plan["seed"])
    kind.load(channel)
    count = Tokenising(channel, analysis["used"])
    trainer = kind.make_trainer(channel, kind.tokenise("train", count), kind.tokenise("test", count))
    try:
        metrics = fit(trainer, notes_of(plan, analysis), checkpoint)
    except Killed:
        metrics = {}
    weights = dict(kind.model.state_dict())
    if metrics:
        shutil.rmtree(job / "model", ignore_errors=True)
        kind.save(job / "model")
    return Outcome(kind.model, weights, metrics, channel.sent, job / "output")
