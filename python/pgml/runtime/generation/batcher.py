"""Continuous batching: one step computes the next token of every sequence, whichever request it belongs to.

Sequences join and leave between two steps. The engine's thread takes the steps, one turn each, so that other requests
are served between them. Knows nothing of prompts' texts, of sockets and of how a model is run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch

from pgml.runtime.errors import Cancelled, as_fault
from pgml.runtime.generation.jobs import Job
from pgml.runtime.generation.sampling import choose
from pgml.runtime.generation.sequences import Sequence
from pgml.runtime.generation.settings import Sampling

logger = logging.getLogger(__name__)

USUAL_SEQUENCES = 32
"""Sequences in a batch. Beyond them a request gets one at least, so that it waits for none that is long."""
STEP_SECONDS = 0.25
"""What a step that reads prompts should take at most while others wait for their next token."""
ALONE = 4
"""So many times as long it may take while nobody does."""
LEAST_PROMPT_TOKENS, FIRST_PROMPT_TOKENS, MOST_PROMPT_TOKENS = 16, 128, 1024
Submit = Callable[[Callable[[], None]], Any]


class Runner(Protocol):
    """A way to run a model."""

    chunks: bool

    def start(self) -> Any: ...
    def fork(self, state: Any) -> Any: ...
    def forward(self, parts: list[tuple[Any, list[int]]]) -> torch.Tensor: ...


class AdapterSwitch(Protocol):
    """What says which adapters compute."""

    def passes(self, names: set[str | None]) -> list[set[str | None]]: ...
    def activate(self, shares: list[tuple[str | None, int]]) -> None: ...


class Batcher:
    """The sequences of one loaded model.

    `submit` gives a function its turn in the computing thread; `most_tokens` is what there is memory for.
    """

    def __init__(self, runner: Runner, submit: Submit, adapters: AdapterSwitch, most_tokens: int = 2**62) -> None:
        self._runner = runner
        self._submit = submit
        self._adapters = adapters
        self._most_tokens = most_tokens
        self._lock = threading.Lock()
        self._arriving: dict[Job, deque[Sequence]] = {}
        self._running: list[Sequence] = []
        self._driven = False
        self._prompt_tokens = FIRST_PROMPT_TOKENS

    def add(self, job: Job, sequences: Iterable[Sequence]) -> None:
        """Take sequences up, each with its siblings; any thread may call this."""
        with self._lock:
            self._arriving.setdefault(job, deque()).extend(sequences)
            if self._driven:
                return
            self._driven = True
        self._submit(self._turn)

    def _turn(self) -> None:
        try:
            self._step()
        except Exception as error:
            logger.exception("could not take a step of generation")
            self._fail([*self._running, *(s for waiting in self._arriving.values() for s in waiting)], error)
        with self._lock:
            self._driven = bool(self._running or self._arriving)
            if not self._driven:
                return
        self._submit(self._turn)

    def _step(self) -> None:
        self._drop_cancelled()
        self._admit()
        jobs = {sequence.job for sequence in self._running}
        parts = self._parts()
        for names in self._adapters.passes({sequence.prompt.adapter for sequence, _ in parts}):
            group = [part for part in parts if part[0].prompt.adapter in names]
            group.sort(key=lambda part: part[0].prompt.adapter or "")
            try:
                self._adapters.activate([(sequence.prompt.adapter, len(tokens)) for sequence, tokens in group])
                self._compute(group)
            except Exception as error:
                logger.exception("could not compute the next tokens")
                self._fail([sequence for sequence, _ in group], error)
        self._running = [s for s in self._running if not s.ended and not s.job.abandoned]
        for job in jobs:
            job.flush()

    def _drop_cancelled(self) -> None:
        with self._lock:
            jobs = {*self._arriving, *(sequence.job for sequence in self._running)}
        for job in jobs:
            _fail_if_cancelled(job)
        self._running = [sequence for sequence in self._running if not sequence.job.abandoned]
        with self._lock:
            self._arriving = {job: waiting for job, waiting in self._arriving.items() if not job.abandoned}

    def _admit(self) -> None:
        """Let sequences join, by turns of the requests."""
        with self._lock:
            while self._arriving:
                size = sum(1 + len(sequence.siblings) for sequence in self._running)
                present = {sequence.job for sequence in self._running}
                job = next((j for j in self._arriving if size < USUAL_SEQUENCES or j not in present), None)
                if job is None or not self._has_room(self._arriving[job][0]):
                    return
                waiting = self._arriving.pop(job)
                sequence = waiting.popleft()
                sequence.state = self._runner.start()
                self._running.append(sequence)
                if waiting:
                    self._arriving[job] = waiting  # behind the others

    def _has_room(self, sequence: Sequence) -> bool:
        """Whether all can be as long as they may become, this one included."""
        taken = sum(running.most_tokens for running in self._running)
        return not self._running or taken + sequence.most_tokens <= self._most_tokens

    def _parts(self) -> list[tuple[Sequence, list[int]]]:
        """What each sequence reads in this step: its last token, or a part of its prompt."""
        decoding = [s for s in self._running if s.produced]
        room = min(self._prompt_tokens * (1 if decoding else ALONE), MOST_PROMPT_TOKENS)
        parts = [(sequence, sequence.waiting) for sequence in decoding]
        # The shortest first: it does not wait for all of a long one.
        for sequence in sorted((s for s in self._running if not s.produced), key=lambda s: len(s.waiting)):
            if room <= 0:
                break
            tokens = sequence.waiting[:room] if self._runner.chunks else sequence.waiting
            parts.append((sequence, tokens))
            room -= len(tokens)
        return parts

    def _compute(self, group: list[tuple[Sequence, list[int]]]) -> None:
        start = time.monotonic()
        logits = self._runner.forward([(sequence.state, tokens) for sequence, tokens in group])
        self._pace(sum(len(tokens) for _, tokens in group), time.monotonic() - start)
        ready: list[tuple[Sequence, int]] = []
        for row, (sequence, tokens) in enumerate(group):
            sequence.waiting = sequence.waiting[len(tokens) :]
            if not sequence.waiting:
                ready.append((sequence, row))
                ready.extend((sibling, row) for sibling in self._fork(sequence))
        _choose_next(ready, logits)

    def _pace(self, tokens: int, seconds: float) -> None:
        """Learn how many tokens of prompts a step has time for; one of few tokens says nothing of that."""
        if tokens >= FIRST_PROMPT_TOKENS // 2 or tokens >= self._prompt_tokens:
            able = int(tokens / max(seconds, 1e-6) * STEP_SECONDS)
            self._prompt_tokens = min(max(able, LEAST_PROMPT_TOKENS), MOST_PROMPT_TOKENS)

    def _fork(self, sequence: Sequence) -> list[Sequence]:
        siblings, sequence.siblings = sequence.siblings, []
        for sibling in siblings:
            sibling.state = self._runner.fork(sequence.state)
        self._running.extend(siblings)
        return siblings

    def _fail(self, sequences: list[Sequence], error: Exception) -> None:
        fault = as_fault(error, "generate text")
        for job in {sequence.job for sequence in sequences}:
            job.fail(fault)


def _fail_if_cancelled(job: Job) -> None:
    try:
        if not job.abandoned and job.cancelled():
            job.fail(Cancelled())
    except Exception as error:
        logger.exception("could not ask whether a request was cancelled")
        job.fail(as_fault(error, "generate text"))


def _choose_next(ready: list[tuple[Sequence, int]], logits: torch.Tensor) -> None:
    """Choose a token for each sequence from its row of scores; alike settings are computed together."""
    alike: dict[Sampling, list[tuple[Sequence, torch.Tensor]]] = {}
    for sequence, row in ready:
        scores = sequence.scores(logits[row])
        if sequence.limited:
            sequence.walk(scores)
        else:
            alike.setdefault(sequence.prompt.sampling, []).append((sequence, scores))
    for sampling, members in alike.items():
        scores = torch.stack([scores for _, scores in members])
        tokens = choose(scores, sampling, [sequence.random.random() for sequence, _ in members])
        for (sequence, _), token in zip(members, tokens, strict=True):
            sequence.take(token)
