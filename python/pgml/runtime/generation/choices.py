"""Limit an answer to one of some texts, token by token. Pure: knows token ids and scores only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Node:
    """What may follow some tokens: more tokens, or, where `text` is set, the end."""

    children: dict[int, Node] = field(default_factory=dict)
    text: str | None = None


def make_trie(choices: dict[str, list[int]]) -> Node:
    """The tree of the tokens of all choices."""
    root = Node()
    for text, tokens in choices.items():
        node = root
        for token in tokens:
            node = node.children.setdefault(token, Node())
        node.text = text
    return root


class Walk:
    """The way of one sequence through the tree. `ends` are the tokens that say that an answer is complete."""

    def __init__(self, root: Node, ends: frozenset[int]) -> None:
        self._node = root
        self._ends = ends

    def step(self, logits: Any) -> tuple[int | None, str | None]:
        """The most probable next token, or none at the end; and the text once only one is left."""
        children = list(self._node.children)
        best = max(children, key=lambda token: float(logits[token]))
        if self._node.text is not None:
            end = max((float(logits[token]) for token in self._ends), default=float("inf"))
            if end >= float(logits[best]):
                return None, self._node.text
        self._node = self._node.children[best]
        return best, _only_text(self._node)


def _only_text(node: Node) -> str | None:
    """The one text that can still come of it."""
    while node.text is None and len(node.children) == 1:
        node = next(iter(node.children.values()))
    return node.text if not node.children else None
