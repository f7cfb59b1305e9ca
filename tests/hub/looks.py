"""Look at a repository: its facts, files, branches and history."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from tests.hub.access import check_write, owns
from tests.hub.blobs import Blobs
from tests.hub.calls import Call, identify, page
from tests.hub.refusals import no_entry
from tests.hub.repositories import Commit, Entry, Repository

PAGE, EXPANDED_PAGE = 1000, 50  # the Hub's own sizes
LIST = 1000
ALWAYS = ("_id", "id", "modelId")


async def info(call: Call) -> Response:
    """GET /api/KIND/NAME and …/revision/REVISION"""
    commit = call.commit()
    facts = describe(call.repository, commit, call.store.blobs)
    facts["siblings"] = [sibling(path, entry, sized=call.flag("blobs")) for path, entry in commit.files.items()]
    return JSONResponse(chosen(facts, call.request))


async def tree(call: Call) -> Response:
    """GET /api/KIND/NAME/tree/REVISION[/PATH]"""
    commit = call.commit()
    folder, recursive, expand = call.address.path, call.flag("recursive"), call.flag("expand")
    files = commit.below(folder)
    if folder and not files:
        raise no_entry(folder, commit.oid)
    items: dict[str, dict[str, Any]] = {}
    start = len(folder) + 1 if folder else 0
    for path, entry in files.items():
        steps = path[start:].split("/")
        for depth in range(1, len(steps) if recursive else min(len(steps), 2)):
            parent = path[:start] + "/".join(steps[:depth])
            items.setdefault(parent, _folder_item(call.repository, commit, parent, expand))
        if recursive or len(steps) == 1:
            items[path] = _file_item(call.repository, commit, path, entry, expand)
    return page(call.request, list(items.values()), EXPANDED_PAGE if expand else PAGE)


async def paths_info(call: Call) -> Response:
    """POST /api/KIND/NAME/paths-info/REVISION, as a form or as JSON"""
    commit = call.commit()
    if call.request.headers.get("content-type", "").startswith("application/json"):
        body = await call.request.json()
        paths, expand = body.get("paths", []), bool(body.get("expand"))
    else:
        form = await call.request.form()
        paths, expand = form.getlist("paths"), str(form.get("expand", "")).lower() == "true"
    items = []
    for path in map(str, paths):
        if entry := commit.files.get(path):
            items.append(_file_item(call.repository, commit, path, entry, expand))
        elif commit.below(path):
            items.append(_folder_item(call.repository, commit, path.strip("/"), expand))
    return JSONResponse(items)


async def refs(call: Call) -> Response:
    """GET /api/KIND/NAME/refs"""
    repository = call.repository

    def listed(names: dict[str, str], prefix: str) -> list[dict[str, str]]:
        return [{"name": name, "ref": prefix + name, "targetCommit": oid} for name, oid in names.items()]

    answer = {
        "branches": listed(repository.branches, "refs/heads/"),
        "tags": listed(repository.tags, "refs/tags/"),
        "converts": [],
    }
    if call.flag("include_prs"):
        answer["pullRequests"] = listed(repository.pulls, "")
    return JSONResponse(answer)


async def commits(call: Call) -> Response:
    """GET /api/KIND/NAME/commits/REVISION"""
    items = []
    for commit in call.repository.history(call.commit()):
        item: dict[str, Any] = {
            "id": commit.oid,
            "title": commit.title,
            "message": commit.message,
            "date": commit.date,
            "authors": [{"user": commit.user}],
        }
        if "formatted" in call.request.query_params.getlist("expand[]"):
            item["formatted"] = {"title": commit.title, "message": commit.message}
        items.append(item)
    return page(call.request, items, EXPANDED_PAGE)


async def discussions(call: Call) -> Response:
    """GET /api/KIND/NAME/discussions: nobody discusses here."""
    return JSONResponse({"discussions": [], "count": 0, "start": 0})


async def auth_check(call: Call) -> Response:
    """GET /api/KIND/NAME/auth-check[/write]"""
    if call.address.rest == ("write",):
        check_write(call.repository, call.token)
    return JSONResponse({})


def listing(kind: str) -> Callable[[Request], Awaitable[Response]]:
    """GET /api/KIND: what the caller may see, by author, words in the name and tags"""

    async def listed(request: Request) -> Response:
        state, token, query = request.app.state.hub, identify(request), request.query_params
        found = []
        for repository in state.store.repositories.values():
            if repository.kind != kind or (repository.private and not owns(repository, token)):
                continue
            head = repository.commits[repository.branches["main"]]
            facts = describe(repository, head, state.store.blobs)
            if (
                query.get("author", repository.owner) != repository.owner
                or query.get("search", "").lower() not in repository.name.lower()
                or not set(query.getlist("filter")) <= set(facts["tags"])
            ):
                continue
            if query.get("full", "").lower() == "true":
                facts["siblings"] = [sibling(path, entry, sized=False) for path, entry in head.files.items()]
            found.append(chosen(facts, request))
        return page(request, found, int(query.get("limit", LIST)))

    return listed


def describe(repository: Repository, commit: Commit, blobs: Blobs) -> dict[str, Any]:
    """The facts about a repository at a commit, as the clients call them."""
    card = card_data(commit, blobs)
    facts = {
        "_id": commit.oid[:24],
        "id": repository.name,
        "author": repository.owner,
        "sha": commit.oid,
        "private": repository.private,
        "gated": repository.gated,
        "disabled": False,
        "createdAt": repository.created,
        "lastModified": commit.date,
        "downloads": 0,
        "likes": 0,
        "tags": [tag for tag in card.get("tags") or [] if isinstance(tag, str)],
        "cardData": card,
    }
    if repository.kind == "models":
        facts["modelId"] = repository.name
        facts |= {key: card[key] for key in ("library_name", "pipeline_tag") if key in card}
    return facts


def card_data(commit: Commit, blobs: Blobs) -> dict[str, Any]:
    """The YAML at the head of README.md."""
    entry = commit.files.get("README.md")
    if entry is None:
        return {}
    start, _, rest = blobs.read(entry.sha256).decode(errors="replace").partition("---\n")
    head, end, _ = rest.partition("\n---")
    if start.strip() or not end:
        return {}
    try:
        data = yaml.safe_load(head)
    except yaml.YAMLError:
        return {}
    # dates, which YAML knows and JSON does not, become text
    return json.loads(json.dumps(data, default=str)) if isinstance(data, dict) else {}


def chosen(facts: dict[str, Any], request: Request) -> dict[str, Any]:
    """Only the facts that were asked for by `expand`, if any were."""
    names = request.query_params.getlist("expand") + request.query_params.getlist("expand[]")
    return {name: value for name, value in facts.items() if name in names or name in ALWAYS} if names else facts


def sibling(path: str, entry: Entry, *, sized: bool) -> dict[str, Any]:
    item: dict[str, Any] = {"rfilename": path}
    if sized:
        item |= {"size": entry.size, "blobId": entry.oid}
        if entry.lfs:
            item["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
    return item


def _file_item(repository: Repository, commit: Commit, path: str, entry: Entry, expand: bool) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "file", "path": path, "size": entry.size, "oid": entry.oid}
    if entry.lfs:
        item["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
    if expand:
        item["lastCommit"] = _named(repository.last_change(commit, path))
    return item


def _folder_item(repository: Repository, commit: Commit, path: str, expand: bool) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "directory", "path": path, "size": 0, "oid": commit.folder_oid(path)}
    if expand:
        changes = [repository.last_change(commit, inside) for inside in commit.below(path)]
        item["lastCommit"] = _named(max(changes, key=lambda change: change.date))
    return item


def _named(commit: Commit) -> dict[str, str]:
    return {"id": commit.oid, "title": commit.title, "date": commit.date}
