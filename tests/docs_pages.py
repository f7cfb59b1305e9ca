"""What a page of the documentation has to run: its blocks in SQL and Python, hidden ones, and what they must show.

Knows nothing of databases and pytest. CONTRIBUTING.md says how pages are written.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUN = ("sql", "python")
SHOWN = ("text", "sh", "console", "ini", "yaml", "json")
"""Languages of blocks that are not run. Any other one is a mistake: `postgresql` would look like SQL and never run."""

FENCE = re.compile(r"(?P<indent>[ \t>]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[^\s`{]*)[^`]*")
COMMENT = re.compile(r"[ \t]*<!--(?P<text>.*?)-->", re.DOTALL)


class PageError(ValueError):
    """The page is not written as the runner reads it."""


@dataclass
class Block:
    """Something to run; `expected` texts are in what it shows, or it fails with `error`."""

    language: str
    text: str
    line: int
    expected: list[str] = field(default_factory=list)
    error: str | None = None


def pages() -> list[Path]:
    """All pages, from the root of the checkout."""
    return [Path("README.md"), *sorted(page.relative_to(ROOT) for page in (ROOT / "docs").rglob("*.md"))]


def blocks_of(page: str) -> list[Block]:
    """What a page runs, in its order."""
    found: list[Block] = []
    for kind, text, line in _parts(page):
        if kind in RUN:
            found.append(Block(kind, text, line))
        elif not found:
            raise PageError(f"line {line}: no block before this {kind}")
        elif kind == "expect":
            found[-1].expected.append(text)
        elif found[-1].error is not None:
            raise PageError(f"line {line}: the block before it has an error already")
        else:
            found[-1].error = text
    for block in found:
        if block.error is not None and block.expected:
            raise PageError(f"line {block.line}: a block that fails shows nothing to be expected")
    return found


def _parts(page: str) -> Iterator[tuple[str, str, int]]:
    """Kind, text and line of all that says what to run or what to expect."""
    lines = page.splitlines()
    at = 0
    while at < len(lines):
        start, line = at, lines[at]
        at += 1
        if fence := FENCE.fullmatch(line):
            at = _end_of_fence(lines, start, fence)
            language = fence["language"]
            if language in RUN:
                yield language, _dedented(lines[start + 1 : at - 1], fence["indent"]), start + 1
            elif language not in SHOWN:
                known = ", ".join((*RUN, *SHOWN))
                raise PageError(f"line {start + 1}: a block in {language or 'no language'}; there are {known}")
        elif "```" in line or "~~~" in line:
            raise PageError(f"line {start + 1}: a fence has to stand on a line of its own")
        elif "<!--" in line:
            comment = COMMENT.fullmatch("\n".join(lines[start : _end_of_comment(lines, start)]).rstrip())
            if not comment:
                raise PageError(f"line {start + 1}: a comment has to stand on lines of its own")
            at = _end_of_comment(lines, start)
            yield (*_instruction(comment["text"].strip(), start + 1), start + 1)


def _end_of_fence(lines: list[str], start: int, fence: re.Match[str]) -> int:
    """The number of the line after the closing fence."""
    closing = re.compile(r"[ \t>]*" + re.escape(fence["fence"]) + r"[`~]*[ \t]*")
    for number in range(start + 1, len(lines)):
        if closing.fullmatch(lines[number]):
            return number + 1
    raise PageError(f"line {start + 1}: the fence is not closed")


def _end_of_comment(lines: list[str], start: int) -> int:
    for number in range(start, len(lines)):
        if "-->" in lines[number]:
            return number + 1
    raise PageError(f"line {start + 1}: the comment is not closed")


def _dedented(lines: list[str], indent: str) -> str:
    """The text of a block within a list or a quotation."""
    return textwrap.dedent("".join(f"{line.removeprefix(indent)}\n" for line in lines))


def _instruction(comment: str, line: int) -> tuple[str, str]:
    if match := re.fullmatch(r"(expect|error):\s*(\S.*)", comment):
        return match[1], match[2]
    if match := re.fullmatch(r"(sql|python)\s*\n(.*)", comment, re.DOTALL):
        return match[1], textwrap.dedent(match[2]) + "\n"
    known = "sql, python (with lines below it), expect: text, error: text"
    raise PageError(f"line {line}: a comment that is none of {known}")
