"""Log lines of the Python processes: one JSON object a line on standard error. Set up before the heavy imports.

    {"level": "WARNING", "message": "…", "hint": "…"}

Knows nothing of what is logged. A hint is given as `logger.error("…", extra={"hint": "…"})`.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback

from pgml.runtime.redaction import redact


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; a traceback is part of the message."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
        level = "ERROR" if record.levelno >= logging.ERROR else record.levelname
        line = {"level": level, "message": redact(message)}
        hint = getattr(record, "hint", None)
        if hint:
            line["hint"] = redact(str(hint))
        return json.dumps(line)


def setup(level: int = logging.INFO) -> None:
    """Send logging and warnings to standard error as JSON lines; those of other libraries only from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("pgml").setLevel(level)
    logging.captureWarnings(True)
