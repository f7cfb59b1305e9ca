"""Log lines as the Rust side reads them."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import logging, sys, warnings
from pgml.runtime import logs
logs.setup()
logger = logging.getLogger("pgml.runtime.serve")
logger.info("ready\\nto go")
logger.debug("not shown")
logger.error("missing", extra={"hint": "install it"})
logging.getLogger("transformers").info("not shown")
logging.getLogger("transformers").critical("token hf_abcdefgh12345")
warnings.warn("old")
try:
    1 / 0
except ZeroDivisionError:
    logger.exception("failed")
"""


def test_every_record_is_one_line_of_json():
    process = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in process.stderr.splitlines()]
    assert lines[:3] == [
        {"level": "INFO", "message": "ready\nto go"},
        {"level": "ERROR", "message": "missing", "hint": "install it"},
        {"level": "ERROR", "message": "token [redacted]"},
    ]
    assert lines[3]["level"] == "WARNING"
    assert "UserWarning: old" in lines[3]["message"]
    assert lines[4]["message"].startswith("failed\nTraceback")
    assert lines[4]["message"].endswith("ZeroDivisionError: division by zero")
    assert len(lines) == 5
    assert process.stdout == ""
