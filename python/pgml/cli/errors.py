"""Errors as one line for a person."""

from __future__ import annotations

import psycopg


def explain(error: Exception) -> str:
    """Message, detail and hint on one line.

    >>> explain(ValueError("model 7 does not exist"))
    'model 7 does not exist'
    """
    if not isinstance(error, psycopg.Error) or not error.diag.message_primary:
        return " ".join(str(error).split())
    diagnostic = error.diag
    more = [part for part in (diagnostic.message_detail, diagnostic.message_hint) if part]
    return " ".join(" ".join([f"{diagnostic.message_primary}{'.' if more else ''}", *more]).split())
