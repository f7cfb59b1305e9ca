"""Secrets never rest: mask what is one, or looks like one, before it reaches a message, a log, a file or a table.

Rust masks by the same rules (extension/core/src/redact.rs); tests/assets/redaction.json says for both what comes out.
"""

from __future__ import annotations

import base64
import io
import re
from typing import Any, TextIO
from urllib.parse import quote

MASK = "[redacted]"

# Groups are what stays: the scheme of an authorization, both ends of a URL's user, the name of a query's value.
SHAPES = re.compile(
    r"hf_(?:(?:oauth|jwt)_[A-Za-z0-9_.~-]{8,}|[A-Za-z0-9]{10,})"
    r"|((?i:bearer|basic) +)[A-Za-z0-9._~+/=-]{20,}"
    r"|(://)[^\s/\"'<>]+(@)"
    r"|((?i:[?&][a-z0-9_.-]*(?:token|password|secret|credential|signature|api_key)[a-z0-9_.-]*=))[^\s&\"'<>]+"
)
SECRET_WORDS = "token password passwd pwd secret credential signature api_key apikey access_key private_key".split()
# Keys that hold one of the words but no secret: max_tokens, tokenizer_args, mean_token_accuracy, eos_token.
HARMLESS_WORDS = (
    *("tokens", "tokeniz", "token_accuracy"),
    *("bos_token", "eos_token", "pad_token", "unk_token", "cls_token", "sep_token", "mask_token"),
)
SHORTEST_REMEMBERED = 4
"""A shorter text cannot be told from others."""

_remembered: list[str] = []  # the longest first, so that none is masked in a part only


def remember(secret: str | None) -> None:
    """Mask this value from now on in this process, whatever it looks like, also quoted for a URL and as base64."""
    if secret is None or len(secret) < SHORTEST_REMEMBERED:
        return
    encoded = (base64.b64encode(secret.encode()), base64.urlsafe_b64encode(secret.encode()))
    forms = {secret, quote(secret), quote(secret, safe=""), *(form.decode().rstrip("=") for form in encoded)}
    _remembered[:] = sorted(forms.union(_remembered), key=len, reverse=True)


def redact(text: str) -> str:
    """Mask the secrets in a text.

    >>> redact("401 for hf_abcdefghijKLMNOP at https://me:pass@host/?sig=1&token=2")
    '401 for [redacted] at https://[redacted]@host/?sig=1&token=[redacted]'
    """
    for secret in _remembered:
        text = text.replace(secret, MASK)
    return SHAPES.sub(_mask, text)


def redact_value(value: Any) -> Any:
    """A JSON value without its secrets, at any depth: by key, and in texts by shape.

    >>> redact_value({"hub": {"token": "x", "endpoint": None}, "seen": ["hf_abcdefghijKLMNOP"]})
    {'hub': {'token': '[redacted]', 'endpoint': None}, 'seen': ['[redacted]']}
    """
    if isinstance(value, dict):
        return {
            key: MASK if item is not None and is_secret_key(str(key)) else redact_value(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [redact_value(item) for item in value]
    return redact(value) if isinstance(value, str) else value


def is_secret_key(name: str) -> bool:
    """Whether a key looks as if its value must not be shown.

    >>> is_secret_key("hub_token"), is_secret_key("apiKey"), is_secret_key("max_new_tokens"), is_secret_key("eos_token")
    (True, True, False, False)
    """
    key = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower().replace("-", "_")
    for word in HARMLESS_WORDS:
        key = key.replace(word, "")
    return key == "key" or any(word in key for word in SECRET_WORDS)


def _mask(found: re.Match[str]) -> str:
    scheme, start, end, name = found.groups(default="")
    return f"{scheme}{start}{name}{MASK}{end}"


class RedactedStream(io.TextIOBase):
    """A text stream that masks the secrets in whatever is printed to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str, /) -> int:
        self._stream.write(redact(text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()
