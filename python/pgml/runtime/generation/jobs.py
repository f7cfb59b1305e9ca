"""What a request waits for: a job of one or more sequences, filled by the computing thread, read by the request's own.

A reader that is slow holds up nobody, and costs no more memory than its texts: what it has not read yet is one text
per sequence. Knows nothing of models.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """New text of one sequence; the last one tells why it ended, and counts tokens."""

    text: str
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


Row = list[Piece | None]


class Job:
    """Places for `size` sequences, of which `wanted` come. `cancelled` tells whether anybody still waits."""

    def __init__(self, size: int, wanted: int, cancelled: Callable[[], bool]) -> None:
        self.cancelled = cancelled
        self._size = size
        self._changed = threading.Condition()
        self._texts: dict[int, list[str]] = {}
        self._ends: dict[int, tuple[str, int, int]] = {}
        self._wanted = wanted
        self._open = wanted
        self._error: BaseException | None = None
        self._abandoned = False

    @property
    def abandoned(self) -> bool:
        """Whether its sequences need not go on."""
        return self._abandoned or self._error is not None

    def emit(self, number: int, text: str) -> None:
        """Add text to a sequence."""
        if text:
            with self._changed:
                self._texts.setdefault(number, []).append(text)

    def end(self, number: int, reason: str, prompt_tokens: int, completion_tokens: int) -> None:
        """End a sequence."""
        with self._changed:
            self._ends[number] = (reason, prompt_tokens, completion_tokens)
            self._open -= 1

    def flush(self) -> None:
        """Let the reader see what there is, after each step."""
        with self._changed:
            if self._texts or self._ends:
                self._changed.notify()

    def fail(self, error: BaseException) -> None:
        """End all sequences with an error."""
        with self._changed:
            if self._error is None:
                self._error = error
            self._changed.notify()

    def abandon(self) -> None:
        """Say that nobody reads on."""
        self._abandoned = True

    def rows(self) -> Iterator[Row]:
        """What is new of each sequence, as soon as anything is; raises the error that ended the job."""
        done = self._wanted == 0
        while not done:
            with self._changed:
                self._changed.wait_for(lambda: self._texts or self._ends or self._error)
                texts, ends = self._texts, self._ends
                self._texts, self._ends = {}, {}
                done = self._open == 0
                error = self._error
            if texts or ends:
                yield [self._piece(number, texts, ends) for number in range(self._size)]
            if error is not None:
                raise error

    def _piece(self, number: int, texts: dict[int, list[str]], ends: dict[int, tuple[str, int, int]]) -> Piece | None:
        text = "".join(texts.get(number, ()))
        if number in ends:
            return Piece(text, *ends[number])
        return Piece(text) if text else None
