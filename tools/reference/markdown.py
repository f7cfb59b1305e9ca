"""Markdown out of plain text that people wrote for a terminal. Knows nothing of what it is about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# What stands for itself in comments: JSON objects and arrays of them, names of the schema, calls, quoted texts, flags.
_CODE = re.compile(
    r"`[^`]+`"
    r"|\bhttps?://[\w.-]*\w(?:/[\w./-]*\w)?"
    r"|\[?\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}(?:, …)?\]?"
    r"|(?<!\w)'[^' ](?:[^'\n]*[^' ])?'(?=[\s,;:.)]|$)"
    r"|\bpgml\.\w+(?:<[^>]+>|\([^()\n]*\)|\.\w+|:\s?<[^>]+>)*"
    r"|\bpgml:<[^>]+>"
    r"|\b[a-z_]+\((?:jsonb|text|bigint)[^()]*\)"
    r"|\b\w+(?:\.\w+)+\(?(?<=\w)(?=[\s,;:.)])"
    r"|\b[a-z0-9]+_[a-z0-9_]+\*?"
    r"|\b(?:NULL|SET|GRANT EXECUTE|DECLARE|FROM|ALTER \w+|HF_\w+)\b"
)


def prose(text: str) -> str:
    """The text as one line, with what is code marked as such and the rest safe from being read as Markdown."""
    parts, at = [], 0
    for match in _CODE.finditer(text := " ".join(text.split())):
        parts += [_plain(text[at : match.start()]), code(match[0].strip("`").strip("'"))]
        at = match.end()
    return "".join([*parts, _plain(text[at:])])


def code(text: str) -> str:
    """The text as it is, in a line."""
    return f"`{text}`" if text else ""


def block(text: str) -> str:
    """The text as it is, in lines of its own."""
    return f"```text\n{text.rstrip()}\n```\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _plain(text: str) -> str:
    return re.sub(r"([\\*<>\[\]])", r"\\\1", text).replace("\\<", "&lt;").replace("\\>", "&gt;")
