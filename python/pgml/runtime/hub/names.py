"""Names of repositories on the Hub: what a project's repository is called. Pure; asks no Hub."""

from __future__ import annotations

import re

LONGEST = 96
FALLBACK = "model"


def default_name(project: str) -> str:
    """The name that a project's repository has if none is given, without the namespace.

    >>> default_name("ticket router (v2)"), default_name("imdb_review"), default_name("…"), default_name("-a--b.git")
    ('ticket_router_v2_', 'imdb_review', 'model', 'a-b')
    """
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", project)
    name = re.sub(r"\.{2,}", ".", re.sub(r"-{2,}", "-", name))[:LONGEST]
    name = re.sub(r"(\.git)+$", "", name.strip("-.")).strip("-.")
    return name if re.search("[A-Za-z0-9]", name) else FALLBACK
