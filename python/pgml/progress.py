"""How a person sees a training go on: a bar in a terminal, lines elsewhere. Knows nothing of databases."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# Said by the prefix or the bar, or of no use while watching.
LEFT_OUT = frozenset(
    """step max_steps epoch timestamp total_flos eval_runtime eval_samples_per_second eval_steps_per_second
    train_steps_per_second train_samples_per_second""".split()
)


def values(logs: Mapping[str, Any]) -> str:
    """The numbers of one log row that say how the training goes.

    >>> values({"step": 20, "loss": 1.02345, "learning_rate": 4.1e-5, "train_steps_per_second": 3})
    'loss 1.0234, learning_rate 4.10e-05'
    """
    shown = {name: value for name, value in logs.items() if name not in LEFT_OUT}
    return ", ".join(f"{name} {_short(value)}" for name, value in shown.items() if isinstance(value, int | float))


def describe(logs: Mapping[str, Any]) -> str:
    """One log row on a line.

    >>> describe({"step": 20, "max_steps": 108, "epoch": 0.5556, "loss": 1.02345})
    'step 20/108, epoch 0.5556: loss 1.0234'
    """
    prefix = [f"step {logs['step']}/{logs['max_steps']}"] if {"step", "max_steps"} <= logs.keys() else []
    if "epoch" in logs:
        prefix.append(f"epoch {_short(logs['epoch'])}")
    return ": ".join(part for part in (", ".join(prefix), values(logs)) if part)


def samples(logs: Mapping[str, Any]) -> list[str]:
    """The sampled answers of an evaluation, a line each.

    >>> samples({"eval_samples": [{"prompt": "Who are you?", "wanted": "I am Pia.", "answer": "I am a model."}]})
    ['  Who are you? → I am a model. (wanted: I am Pia.)']
    """
    return [
        f"  {_line(sample['prompt'])} → {_line(sample['answer'])} (wanted: {_line(sample['wanted'])})"
        for sample in logs.get("eval_samples", [])
    ]


def _line(text: str) -> str:
    return " ".join(text.split())


def _short(value: float) -> str:
    # Three or four digits that count, whatever the size.
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e6 else f"{value:.2e}"


class Display(Protocol):
    """What shows a job, until it is closed."""

    def say(self, text: str) -> None:
        """A notice."""

    def log(self, logs: Mapping[str, Any]) -> None:
        """A row of pgml.logs."""

    def advance(self, step: int, max_steps: int) -> None:
        """Optimizer steps done and to do."""

    def close(self) -> None:
        """The job is over, or nobody watches it any more."""


class Silence:
    """Shows nothing."""

    def say(self, text: str) -> None:
        pass

    def log(self, logs: Mapping[str, Any]) -> None:
        pass

    def advance(self, step: int, max_steps: int) -> None:
        pass

    def close(self) -> None:
        pass


class Lines:
    """A line for each notice and each log row, on standard error."""

    def say(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")

    def log(self, logs: Mapping[str, Any]) -> None:
        self.say("\n".join([describe(logs), *samples(logs)]))

    def advance(self, step: int, max_steps: int) -> None:
        pass

    def close(self) -> None:
        pass


class Bar:
    """A progress bar on standard error with the last numbers beside it; notices and evaluations stay above it."""

    def __init__(self, title: str) -> None:
        self.progress = Progress(
            TextColumn("[bold]{task.description}", markup=True),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[values]}", markup=False),
            console=Console(stderr=True),
        )
        self.task = self.progress.add_task(title, total=None, values="")
        self.progress.start()

    def say(self, text: str) -> None:
        self.progress.console.print(text, markup=False, highlight=False)

    def log(self, logs: Mapping[str, Any]) -> None:
        if any(name.startswith("eval_") for name in logs):
            self.say("\n".join([describe(logs), *samples(logs)]))
        elif numbers := values(logs):
            self.progress.update(self.task, values=numbers)

    def advance(self, step: int, max_steps: int) -> None:
        self.progress.update(self.task, completed=step, total=max_steps)

    def close(self) -> None:
        self.progress.stop()


def display(title: str, shown: bool | None) -> Display:
    """The bar where standard error is a terminal, else lines; nothing with `shown` false."""
    if shown is False:
        return Silence()
    return Bar(title) if sys.stderr.isatty() else Lines()
