"""Names that are like a wrong one: of repositories that the Hub lists, and of revisions that a repository has."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

import httpx2
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import get_session

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.hub.policy import check_allowed
from pgml.runtime.hub.settings import HubSettings

SECONDS = 3
MOST = 200
BEGINNING = 2
CUTOFF = 0.75
"""Names of one owner are alike anyway."""


def suggest_repository(fault: RuntimeFault, settings: HubSettings, kind: str, name: str) -> None:
    """Name in the hint what is nearest; `kind` is "models" or "datasets"."""
    owner, _, last = name.rpartition("/")
    queries = [{"author": owner}] if owner else []
    # A beginning finds also what is misspelled after it; popular names come first, because only some are listed.
    queries += [{"search": text, "sort": "downloads"} for text in dict.fromkeys((last, last[:BEGINNING]))]
    names = (str(found.get("id")) for query in queries for found in _list(settings, f"{kind}?limit={MOST}", query))
    # Without an owner the name is compared with names of whatever owner.
    known = {(one if owner else one.rpartition("/")[2]): one for one in names if _is_allowed(settings, one)}
    _add(fault, name, known)


def suggest_revision(fault: RuntimeFault, settings: HubSettings, kind: str, name: str, revision: str) -> None:
    """As above, among branches and tags."""
    refs = _ask(settings, f"{kind}/{name}/refs", {})
    found = [*refs.get("branches", ()), *refs.get("tags", ())] if isinstance(refs, dict) else []
    names = [str(ref.get("name")) for ref in found]
    _add(fault, revision, dict(zip(names, names, strict=True)))


def _add(fault: RuntimeFault, name: str, known: dict[str, str]) -> None:
    """Offer what is known under the name that is nearest."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=CUTOFF)
    if close:
        fault.hint = " ".join(filter(None, [f'Perhaps you meant "{known[close[0]]}".', fault.hint]))


def _list(settings: HubSettings, path: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
    found = _ask(settings, path, query)
    return (each for each in (found if isinstance(found, list) else ()) if isinstance(each, dict))


def _ask(settings: HubSettings, path: str, query: dict[str, str]) -> Any:
    """An answer of the Hub, or none if there is none soon: a guess is worth no waiting."""
    headers = build_hf_headers(token=settings.token or False)
    try:
        url = httpx2.URL(f"{settings.endpoint}/api/{path}").copy_merge_params(query)
        return get_session().get(url, headers=headers, timeout=SECONDS).raise_for_status().json()
    except (httpx2.HTTPError, OSError, ValueError):
        return None


def _is_allowed(settings: HubSettings, name: str) -> bool:
    try:
        check_allowed(settings, name)
    except RuntimeFault:
        return False
    return True
