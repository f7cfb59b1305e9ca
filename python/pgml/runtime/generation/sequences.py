"""One answer in the making: its tokens, how the next is chosen, and when it ends. Knows nothing of models."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import torch

from pgml.runtime.generation.choices import Node, Walk
from pgml.runtime.generation.decoding import StopFinder, TextDecoder
from pgml.runtime.generation.jobs import Job
from pgml.runtime.generation.sampling import penalise
from pgml.runtime.generation.settings import Sampling


@dataclass(frozen=True)
class Prompt:
    """What all sequences of one prompt share."""

    tokens: list[int]
    sampling: Sampling
    max_tokens: int
    ends: frozenset[int]
    stop: tuple[str, ...] = ()
    choices: Node | None = None
    shown: bool = False  # the text of the prompt precedes the answer, which may therefore begin with a space
    adapter: str | None = None


@dataclass(eq=False)
class Sequence:
    """One answer. `state` is what the model's runner keeps of it, `waiting` the tokens it has not read yet."""

    job: Job
    number: int
    prompt: Prompt
    decoder: TextDecoder
    random: random.Random
    waiting: list[int]
    state: Any = None
    produced: int = 0
    ended: bool = False
    siblings: list[Sequence] = field(default_factory=list)  # of the same prompt, which is computed once
    _stops: StopFinder = field(init=False)
    _walk: Walk | None = field(init=False)
    _seen: torch.Tensor | None = None

    def __post_init__(self) -> None:
        self._stops = StopFinder(self.prompt.stop)
        self._walk = None if self.prompt.choices is None else Walk(self.prompt.choices, self.prompt.ends)

    @property
    def most_tokens(self) -> int:
        """Tokens that may be kept of it, and of the siblings that have not joined it yet."""
        return (len(self.prompt.tokens) + self.prompt.max_tokens) * (1 + len(self.siblings))

    @property
    def limited(self) -> bool:
        """Whether the next token is chosen by `walk`."""
        return self._walk is not None

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """The scores to choose from."""
        penalty = self.prompt.sampling.repetition_penalty
        if penalty == 1.0:
            return logits
        if self._seen is None:
            self._seen = torch.tensor(sorted(set(self.prompt.tokens)), device=logits.device)
        return penalise(logits, self._seen, penalty)

    def walk(self, logits: torch.Tensor) -> None:
        """Go on to the most probable of the given texts."""
        assert self._walk is not None
        token, text = self._walk.step(logits)
        self.produced += token is not None
        if text is not None:
            self.job.emit(self.number, text)
            self._end("stop")
        elif token is not None:
            self.waiting = [token]

    def take(self, token: int) -> None:
        """Append a token that was chosen."""
        self.produced += 1
        if token in self.prompt.ends:
            self._finish("stop")
            return
        self.waiting = [token]
        if self._seen is not None and not bool((self._seen == token).any()):
            self._seen = torch.cat([self._seen, self._seen.new_tensor([token])])
        self.job.emit(self.number, self._stops.push(self.decoder.push(token)))
        if self._stops.found:
            self._end("stop")
        elif self.produced >= self.prompt.max_tokens:
            self._finish("length")

    def _finish(self, reason: str) -> None:
        self.job.emit(self.number, self._stops.push(self.decoder.finish()))
        self.job.emit(self.number, self._stops.finish())
        self._end("stop" if self._stops.found else reason)

    def _end(self, reason: str) -> None:
        self.ended = True
        self.job.end(self.number, reason, len(self.prompt.tokens), self.produced)


def make_sequences(job: Job, first: int, prompt: Prompt, n: int, seed: int | None, tokenizer: Any) -> Sequence:
    """The n sequences of a prompt, numbered from `first`; the others are siblings of the one that is returned."""
    sequences = [
        Sequence(
            job=job,
            number=first + offset,
            prompt=prompt,
            decoder=TextDecoder(tokenizer, prompt.tokens if prompt.shown else None),
            random=random.Random(None if seed is None else seed + offset),  # noqa: S311 no secret
            waiting=list(prompt.tokens),
        )
        for offset in range(n)
    ]
    sequences[0].siblings = sequences[1:]
    return sequences[0]
