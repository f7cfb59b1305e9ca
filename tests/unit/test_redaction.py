"""Secrets are masked; the table of cases is Rust's too."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from pgml.runtime import redaction
from pgml.runtime.errors import RuntimeFault
from pgml.runtime.redaction import MASK, RedactedStream, is_secret_key, redact, redact_value, remember

TABLE = json.loads((Path(__file__).parents[1] / "assets" / "redaction.json").read_text())
SECRET = "s3cret/with+odd=signs é"


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """Tests remember nothing of each other."""
    monkeypatch.setattr(redaction, "_remembered", [])


@pytest.mark.parametrize(("text", "masked"), TABLE["texts"])
def test_secrets_are_masked_by_their_shape(text, masked):
    assert redact(text) == masked
    assert redact(masked) == masked


@pytest.mark.parametrize(("secret", "text", "masked"), TABLE["remembered"])
def test_what_was_remembered_is_masked_whatever_it_looks_like(secret, text, masked):
    remember(secret)
    assert redact(text) == masked


@pytest.mark.parametrize("key", TABLE["keys"]["secret"])
def test_keys_of_secrets_are_known(key):
    assert is_secret_key(key)


@pytest.mark.parametrize("key", TABLE["keys"]["harmless"])
def test_other_keys_are_harmless(key):
    assert not is_secret_key(key)


@pytest.mark.parametrize(("value", "masked"), TABLE["values"])
def test_values_are_masked_at_any_depth(value, masked):
    before = json.dumps(value)
    assert redact_value(value) == masked
    assert json.dumps(value) == before


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
    ],
)
def test_a_remembered_secret_is_masked_in_every_form(form):
    remember(SECRET)
    masked = redact(f"before {form} after")
    assert "s3cret" not in masked
    assert masked.startswith("before [redacted]")
    assert masked.endswith(" after")


def test_the_longer_of_two_secrets_is_masked_whole():
    remember("abcd")
    remember("abcdefgh")
    assert redact("abcdefgh abcd") == f"{MASK} {MASK}"
    remember(None)
    remember("")
    assert redact("") == ""


def test_error_frames_hold_no_secret_anywhere():
    remember(SECRET)
    fault = RuntimeFault(f"no {SECRET}", detail=f"D {SECRET}.", hint=f"H {SECRET}.")
    assert "s3cret" not in json.dumps(fault.as_frame(), ensure_ascii=False)


def test_what_is_printed_is_masked():
    stream = io.StringIO()
    print("token", "hf_abcdefghijkl", file=RedactedStream(stream))
    assert stream.getvalue() == f"token {MASK}\n"


def test_log_lines_hold_no_secret_also_in_tracebacks_and_hints():
    script = f"""
import logging
from pgml.runtime import logs
from pgml.runtime.redaction import remember
logs.setup()
remember({SECRET!r})
try:
    raise ValueError({SECRET!r})
except ValueError:
    logging.getLogger("pgml.x").exception("with %s", {SECRET!r}, extra={{"hint": {SECRET!r}}})
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    line = json.loads(ended.stderr)
    assert "s3cret" not in json.dumps(line, ensure_ascii=False).replace(script, "")
    assert line["hint"] == MASK
