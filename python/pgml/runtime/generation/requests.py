"""A request for text from its inputs to its answer. Knows the task modules' shape; nothing of sockets and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.generation.jobs import Job, Piece, Row
from pgml.runtime.generation.sequences import Sequence, make_sequences
from pgml.runtime.generation.settings import make_settings, parse_settings
from pgml.runtime.tasks import LoadedModel, TaskSpec, task_module

WINDOW = 32
"""Prompts that are tokenised in one turn."""


class TextRequest:
    """Texts that are wanted: what was asked, checked as far as it can be without the model.

    With `plain`, as pgml.generate wants it, each input has one text for its result.
    """

    def __init__(
        self, task: TaskSpec, inputs: list[Any], defaults: dict[str, Any], args: dict[str, Any], *, plain: bool = False
    ) -> None:
        self.task = task
        self._module: ModuleType = task_module(task.name)
        self._arguments = parse_settings(defaults, args, task.name)
        self._plain = plain
        if plain:
            self._check_plain()
        self._items, self._is_one = self._module.read(inputs, self._arguments)
        self._n: int = self._arguments.get("n", 1)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to generate."""
        return all(item is None for item in self._items)

    def job(self, cancelled: Callable[[], bool]) -> Job:
        """What its sequences are written to."""
        wanted = sum(item is not None for item in self._items)
        return Job(len(self._items) * self._n, wanted * self._n, cancelled)

    def sequences(self, model: LoadedModel, job: Job) -> Iterator[list[Sequence]]:
        """The sequences of some inputs at a time."""
        settings = make_settings(self._arguments, model.module.generation_config)
        items = [(position, item) for position, item in enumerate(self._items) if item is not None]
        for start in range(0, len(items), WINDOW):
            yield [
                make_sequences(
                    job,
                    position * self._n,
                    self._module.prompt(model, item, settings),
                    self._n,
                    settings.seed,
                    model.tokenizer,
                )
                for position, item in items[start : start + WINDOW]
            ]

    def rows(self, rows: Iterator[Row]) -> Iterator[list[Any]]:
        """What a stream shows of each row."""
        details = self._arguments.get("details", False)
        for row in rows:
            if details:
                yield [None if piece is None else _details(piece) for piece in row]
            elif any(piece is not None and piece.text for piece in row):
                yield ["" if piece is None else piece.text for piece in row]

    def results(self, rows: Iterator[Row]) -> list[Any]:
        """The whole answer."""
        size = len(self._items) * self._n
        texts: list[list[str]] = [[] for _ in range(size)]
        ends: list[Piece | None] = [None] * size
        for row in rows:
            for number, piece in enumerate(row):
                if piece is not None:
                    texts[number].append(piece.text)
                    ends[number] = piece
        answers = [self._answer("".join(parts), end) for parts, end in zip(texts, ends, strict=True)]
        groups = [answers[start : start + self._n] for start in range(0, size, self._n)]
        if self._plain:
            return [None if item is None else group[0] for item, group in zip(self._items, groups, strict=True)]
        if self._is_one and self._n > 1:
            return groups[0]
        return [
            None if item is None else self._module.result(group, item, self._arguments)
            for item, group in zip(self._items, groups, strict=True)
        ]

    def _answer(self, text: str, end: Piece | None) -> Any:
        if not self._arguments.get("details") or end is None:
            return text
        return _details(Piece(text, end.finish_reason, end.prompt_tokens, end.completion_tokens))

    def _check_plain(self) -> None:
        wrong = [name for name, usual in (("n", 1), ("details", False)) if self._arguments.get(name, usual) != usual]
        if wrong:
            raise RuntimeFault(
                f"{' and '.join(wrong)} cannot be used where the result is one text",
                sqlstate=INVALID_PARAMETER_VALUE,
                hint="Use pgml.transform.",
            )


def _details(piece: Piece) -> dict[str, Any]:
    return {
        "text": piece.text,
        "finish_reason": piece.finish_reason,
        "prompt_tokens": piece.prompt_tokens,
        "completion_tokens": piece.completion_tokens,
    }
