"""Take files: first their names, then the large ones, then the commit with the small ones in it."""

from __future__ import annotations

import base64
import json
import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from tests.hub.access import check_write
from tests.hub.blobs import is_large
from tests.hub.calls import Call, json_body
from tests.hub.refusals import Refusal, no_entry, no_revision
from tests.hub.repositories import Commit, Entry, large, small
from tests.hub.store import now

LFS_JSON = "application/vnd.git-lfs+json"


async def preupload(call: Call) -> Response:
    """POST /api/KIND/NAME/preupload/REVISION: which files go to LFS, and which are there already"""
    _check_push(call)
    files = call.commit().files
    answers = []
    for file in (await json_body(call.request)).get("files", []):
        path, sample = str(file["path"]), base64.b64decode(file.get("sample", ""))
        mode = "lfs" if is_large(path, file["size"], sample) else "regular"
        answer = {"path": path, "uploadMode": mode, "shouldIgnore": False}
        entry = files.get(path)
        if entry and entry.lfs == (mode == "lfs"):
            answer["oid"] = entry.etag
        answers.append(answer)
    return JSONResponse({"files": answers})


async def batch(call: Call) -> Response:
    """POST /NAME.git/info/lfs/objects/batch: where to put the large files that are not there yet"""
    body = await json_body(call.request)
    if body.get("operation") != "upload":
        raise Refusal(400, "Downloads go by /resolve/")
    check_write(call.repository, call.token, pull_request=True)
    objects = []
    for wanted in body.get("objects", []):
        oid, size = str(wanted["oid"]), int(wanted["size"])
        answer: dict[str, Any] = {"oid": oid, "size": size}
        if oid not in call.store.blobs:
            # Uploads come without a token, as to an object store: whoever has the address may.
            ticket = secrets.token_urlsafe(24)
            call.state.tickets[ticket] = (oid, size)
            answer["authenticated"] = True
            answer["actions"] = {
                "upload": {"href": f"{call.endpoint}/-/lfs/{ticket}", "header": {}},
                "verify": {"href": f"{call.endpoint}/-/lfs/{ticket}/verify", "header": {}},
            }
        objects.append(answer)
    return JSONResponse({"transfer": "basic", "objects": objects}, media_type=LFS_JSON)


async def upload(request: Request) -> Response:
    """PUT /-/lfs/TICKET"""
    state = request.app.state.hub
    oid, size = _ticket(request)
    with state.store.blobs.receiving() as incoming:
        async for piece in request.stream():
            incoming.write(piece)
        if (incoming.sha256, incoming.size) != (oid, size):
            raise Refusal(400, "The content does not have the sha256 and the size that were announced")
        state.store.blobs.keep(incoming)
    return Response(headers={"ETag": f'"{oid}"'})


async def verify(request: Request) -> Response:
    """POST /-/lfs/TICKET/verify"""
    body, (oid, size) = await json_body(request), _ticket(request)
    if (body.get("oid"), body.get("size")) != (oid, size) or oid not in request.app.state.hub.store.blobs:
        raise Refusal(404, "The object was not uploaded")
    return JSONResponse({})


async def commit(call: Call) -> Response:
    """POST /api/KIND/NAME/commit/BRANCH, in lines of JSON"""
    user = _check_push(call)
    repository, branch = call.repository, call.address.revision.removeprefix("refs/heads/")
    head = call.commit()
    pull_request = call.flag("create_pr")
    if not pull_request and branch not in repository.branches and branch not in repository.pulls:
        raise no_revision(branch)
    header, operations = _lines(await call.request.body())
    if header.get("parentCommit") not in (None, head.oid):
        raise Refusal(412)
    files = dict(head.files)
    for key, value in operations:
        _apply(call, head, files, key, value)
    title, message = str(header.get("summary", "")), str(header.get("description") or "")
    new = repository.commit(head, files, title, user, now(), message)
    answer: dict[str, Any] = {
        "success": True,
        "commitOid": new.oid,
        "commitUrl": f"{call.endpoint}/{repository.path}/commit/{new.oid}",
        "hookOutput": "",
    }
    if pull_request:
        number = len(repository.pulls) + 1
        repository.pulls[f"refs/pr/{number}"] = new.oid
        answer["pullRequestUrl"] = f"{call.endpoint}/{repository.path}/discussions/{number}"
    else:
        (repository.branches if branch in repository.branches else repository.pulls)[branch] = new.oid
    call.store.save()
    return JSONResponse(answer)


def _check_push(call: Call) -> str:
    """The name of the user who may push."""
    check_write(call.repository, call.token, pull_request=call.flag("create_pr"))
    return call.token.user if call.token else ""


def _ticket(request: Request) -> tuple[str, int]:
    try:
        ticket: tuple[str, int] = request.app.state.hub.tickets[request.path_params["ticket"]]
    except KeyError:
        raise Refusal(403, "Request has expired") from None
    return ticket


def _lines(body: bytes) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """The header of a commit, and its operations."""
    try:
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        pairs = [(str(line["key"]), dict(line["value"])) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal(400, f"Invalid commit: {error!r}") from error
    headers = [value for key, value in pairs if key == "header"]
    if len(headers) != 1 or not headers[0].get("summary"):
        raise Refusal(400, 'Invalid commit: "summary" is required')
    return headers[0], [(key, value) for key, value in pairs if key != "header"]


def _apply(call: Call, head: Commit, files: dict[str, Entry], key: str, value: dict[str, Any]) -> None:
    path = str(value.get("path", "")).strip("/")
    if not path or any(step in ("", ".", "..", ".git") for step in path.split("/")):
        raise Refusal(400, f"Invalid path: {path}")
    blobs = call.store.blobs
    if key == "file":
        content = str(value.get("content", ""))
        data = base64.b64decode(content) if value.get("encoding") == "base64" else content.encode()
        blobs.put(data)
        files[path] = small(data)
    elif key == "lfsFile":
        oid = str(value.get("oid"))
        if oid not in blobs:
            message = "Your push was rejected because an LFS pointer pointed to a file that does not exist"
            raise Refusal(400, f"{message}: {path}")
        files[path] = large(oid, blobs.path(oid).stat().st_size)
    elif key == "deletedFile":
        if files.pop(path, None) is None:
            raise no_entry(path, head.oid)
    elif key == "deletedFolder":
        inside = [name for name in files if name.startswith(path + "/")]
        if not inside:
            raise no_entry(path, head.oid)
        for name in inside:
            del files[name]
    else:
        raise Refusal(400, f"Invalid commit: unknown operation {key}")
