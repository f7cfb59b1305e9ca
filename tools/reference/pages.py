"""All generated pages by name."""

from __future__ import annotations

from pathlib import Path

import psycopg
from tools.reference import client, command, functions, hyperparams, settings, tables

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


def reference_pages(connection: psycopg.Connection) -> dict[str, str]:
    """Name and text of each page that is made from the running system."""
    return {
        "functions.md": functions.page(connection),
        "tables.md": tables.page(connection),
        "settings.md": settings.page(connection),
        "hyperparams.md": hyperparams.page(),
        "sdk.md": client.page(),
        "cli.md": command.page(),
    }
