"""Turn tokens into text as they come: whole characters only, and nothing of a stop string. Knows tokenizers only."""

from __future__ import annotations

from typing import Any

REPLACEMENT = "\ufffd"
CONTEXT = 5
"""Tokens before the first new one that are decoded with it, so that a leading space is seen."""
LONGEST_CHARACTER = 4
"""Tokens that one character of UTF-8 takes at most."""


class TextDecoder:
    """The text of one sequence. Text is given out once no later token can change it."""

    def __init__(self, tokenizer: Any, before: list[int] | None = None) -> None:
        self._tokenizer = tokenizer
        self._tokens = list(before[-CONTEXT:]) if before else []
        self._prefix = 0  # what is decoded begins here, in text that was given out already
        self._given = len(self._tokens)

    def push(self, token: int) -> str:
        """The text that is certain now."""
        self._tokens.append(token)
        end = len(self._tokens)
        text = self._text(end)
        if text.endswith(REPLACEMENT):
            # Bytes that are no character after so many tokens never become one.
            end -= LONGEST_CHARACTER - 1
            if end <= self._given:
                return ""
            text = self._text(end)
        return self._give(text, end)

    def finish(self) -> str:
        """The text that was held back, without the beginning of a character that never ended."""
        text = self._text(len(self._tokens))
        return self._give(text, len(self._tokens)).rstrip(REPLACEMENT)

    def _give(self, text: str, end: int) -> str:
        known = len(self._decode(self._tokens[self._prefix : self._given]))
        if len(text) <= known:
            return ""
        self._prefix, self._given = self._given, end
        return text[known:]

    def _text(self, end: int) -> str:
        return self._decode(self._tokens[self._prefix : end])

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))


class StopFinder:
    """Cut a text at the first of some strings, given the text piece by piece."""

    def __init__(self, strings: tuple[str, ...]) -> None:
        self._strings = strings
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """The part that surely comes before any stop string."""
        if not self._strings:
            return text
        self._held += text
        places = [place for string in self._strings if (place := self._held.find(string)) >= 0]
        if places:
            self.found = True
            certain, self._held = self._held[: min(places)], ""
            return certain
        kept = max(self._overlap(string) for string in self._strings)
        certain, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        return certain

    def finish(self) -> str:
        """What was held back because a stop string might have begun."""
        held, self._held = self._held, ""
        return held

    def _overlap(self, string: str) -> int:
        """How much of the end of the text is a beginning of the string."""
        longest = min(len(string) - 1, len(self._held))
        return next((size for size in range(longest, 0, -1) if self._held.endswith(string[:size])), 0)
