"""Statements that ask models of the Hub, and what comes of them. Knows nothing of Hubs."""

from __future__ import annotations

import json
from typing import Any

import psycopg
from tests.cluster import Database
from tests.integration.jobs import refusal

CLASSIFIER = "santiadavani/imdb_review_sentiement"
"""A stand-in that is tuned already; see tests/hub."""
ADAPTER = "santiadavani/fingpt-llama2-7b-chat"
CHAT_BASE = "meta-llama/Llama-2-7b-chat-hf"


def transform(model: str, task: str = "text-classification", **more: Any) -> str:
    """The statement that asks a model about one text."""
    told = json.dumps({"task": task, "model": model, **more})
    args = '{"max_tokens": 3}' if task == "conversation" else "{}"
    return f"SELECT pgml.transform('{told}'::jsonb, '{args}', ARRAY['a wonderful film'])"


def label_of(database: Database, model: str, user: str = "postgres", **more: Any) -> str:
    return database.value(transform(model, **more), user=user)[0]["label"]


def refused(database: Database, query: str, *settings: str, user: str = "postgres") -> psycopg.errors.Diagnostic:
    """What a statement of a new session that must fail says."""
    with database.connect(user) as connection:
        for setting in settings:
            connection.execute(f"SET {setting}")
        return refusal(connection, query)
