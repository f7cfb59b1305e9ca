"""Files that are one JSON array, a part at a time: the library that reads JSON lines reads an array as a whole.

Knows nothing of what is in the elements.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

READ = 1 << 20
LONGEST_WORD = 16
"""So near the end an error may be one because the text ends there: in the middle of -Infinity or of an escape."""
BLANK = re.compile(r"[\s\ufeff]*")
SEPARATOR = re.compile(r"\s*,?\s*")


def begins_array(file: TextIO) -> bool:
    """Whether the file is an array. Reads its beginning."""
    text = file.read(READ)
    return text.startswith("[", _blank(text))


def parts(file: TextIO, path: Path, size: int) -> Iterator[str]:
    """Write elements as lines of JSON to the path, about that many characters, then the next ones in their place."""
    lines: list[str] = []
    length = 0
    for element in elements(file):
        # Within texts line breaks are escaped, so these are between values.
        line = element.replace("\n", " ").replace("\r", " ")
        lines.append(line if line.startswith("{") else f'{{"text": {line}}}')
        length += len(line)
        if length >= size:
            path.write_text("\n".join(lines), encoding=file.encoding)
            yield str(path)
            lines, length = [], 0
    if lines:
        path.write_text("\n".join(lines), encoding=file.encoding)
        yield str(path)


def elements(file: TextIO) -> Iterator[str]:
    r"""The texts of the elements.

    >>> import io
    >>> list(elements(io.StringIO('[{"a": "]"}, 12,"\\n" ]')))
    ['{"a": "]"}', '12', '"\\n"']
    """
    decoder = json.JSONDecoder()
    text = file.read(READ)
    position = _blank(text) + 1
    while True:
        position = SEPARATOR.match(text, position).end()  # type: ignore[union-attr]  # as below
        if text.startswith("]", position):
            return
        try:
            end = decoder.raw_decode(text, position)[1]
        except json.JSONDecodeError as error:
            if error.pos < len(text) - LONGEST_WORD and not error.msg.startswith("Unterminated string"):
                raise
            end = len(text)
        if end < len(text):  # otherwise what follows may belong to it
            yield text[position:end]
            position = end
            continue
        more = file.read(max(READ, len(text) - position))
        if not more:
            message = "array does not end"
            raise ValueError(message)
        text, position = text[position:] + more, 0


def _blank(text: str) -> int:
    """How much blank a text begins with, the mark of the byte order among it."""
    return BLANK.match(text).end()  # type: ignore[union-attr]  # it matches nothing, too
