"""Make, rename and delete repositories, branches and tags."""

from __future__ import annotations

from typing import Any

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from tests.hub.access import check_namespace, check_write, writer
from tests.hub.calls import Call, endpoint, find, identify, json_body
from tests.hub.refusals import Refusal, no_revision
from tests.hub.repositories import KINDS, Repository, is_name


async def whoami(request: Request) -> Response:
    """GET /api/whoami-v2"""
    token = identify(request)
    if token is None:
        raise Refusal(401, "Invalid username or password.")
    return JSONResponse(
        {
            "type": "user",
            "id": token.user,
            "name": token.user,
            "fullname": token.user.title(),
            "email": f"{token.user}@example.org",
            "emailVerified": True,
            "isPro": False,
            "orgs": [
                {"type": "org", "id": name, "name": name, "fullname": name.title(), "roleInOrg": token.role}
                for name in token.organisations
            ],
            "auth": {
                "type": "access_token",
                "accessToken": {"displayName": token.name, "role": token.role},
            },
        }
    )


async def create(request: Request) -> Response:
    """POST /api/repos/create"""
    body, state = await json_body(request), request.app.state.hub
    token = writer(identify(request))
    kind, name = _kind(body), f"{body.get('organization') or token.user}/{body.get('name')}"
    if not is_name(name):
        raise Refusal(400, f"Invalid repo name: {name}")
    check_namespace(name.partition("/")[0], token, kind)
    if repository := state.store.get(kind, name):
        raise Refusal(409, f"You already created this {kind[:-1]} repo", url=_url(request, repository))
    private = body.get("visibility") == "private" or bool(body.get("private"))
    repository = state.store.create(kind, name, private=private, user=token.user)
    return JSONResponse({"url": _url(request, repository), "name": name, "id": repository.name})


async def delete(request: Request) -> Response:
    """DELETE /api/repos/delete"""
    body, state = await json_body(request), request.app.state.hub
    token = writer(identify(request))
    name = f"{body.get('organization') or token.user}/{body.get('name')}"
    state.store.delete(find(state.store, _kind(body), name, token, own=True))
    return Response("OK")


async def move(request: Request) -> Response:
    """POST /api/repos/move"""
    body, state = await json_body(request), request.app.state.hub
    token, kind = writer(identify(request)), _kind(body)
    old, new = str(body.get("fromRepo")), str(body.get("toRepo"))
    repository = find(state.store, kind, old, token, own=True)
    if not is_name(new) or "/" not in new:
        raise Refusal(400, f"Invalid repo name: {new}")
    check_namespace(new.partition("/")[0], token, kind)
    if state.store.get(kind, new):
        raise Refusal(409, f"The repository {new} exists already")
    state.store.move(repository, new)
    return Response("OK")


async def settings(call: Call) -> Response:
    """PUT /api/KIND/NAME/settings"""
    check_write(call.repository, call.token)
    body = await json_body(call.request)
    if "visibility" in body or "private" in body:
        call.repository.private = body.get("visibility") == "private" or bool(body.get("private"))
    if "gated" in body:
        call.repository.gated = body["gated"]
    call.store.save()
    return JSONResponse({"private": call.repository.private, "gated": call.repository.gated})


async def create_branch(call: Call) -> Response:
    """POST /api/KIND/NAME/branch/BRANCH"""
    check_write(call.repository, call.token)
    body = await json_body(call.request)
    start = str(body.get("startingPoint") or "main")
    commit = call.repository.find(start)
    if commit is None:
        raise no_revision(start)
    _add(call, call.repository.branches, call.address.rest[0], commit.oid)
    return JSONResponse({}, 201)


async def delete_branch(call: Call) -> Response:
    """DELETE /api/KIND/NAME/branch/BRANCH"""
    check_write(call.repository, call.token)
    if call.address.rest[0] == "main":
        raise Refusal(403, "Forbidden: the main branch cannot be deleted")
    _remove(call, call.repository.branches, call.address.rest[0])
    return Response(status_code=204)


async def create_tag(call: Call) -> Response:
    """POST /api/KIND/NAME/tag/REVISION"""
    check_write(call.repository, call.token)
    body = await json_body(call.request)
    if not body.get("tag"):
        raise Refusal(400, "A tag needs a name")
    _add(call, call.repository.tags, str(body["tag"]), call.commit().oid)
    return JSONResponse({}, 201)


async def delete_tag(call: Call) -> Response:
    """DELETE /api/KIND/NAME/tag/TAG"""
    check_write(call.repository, call.token)
    _remove(call, call.repository.tags, call.address.rest[0])
    return Response(status_code=204)


async def validate_yaml(request: Request) -> Response:
    """POST /api/validate-yaml: the head of a model card"""
    head = str((await json_body(request)).get("content", ""))
    errors = []
    try:
        yaml.safe_load(head.removeprefix("---\n").partition("\n---")[0])
    except yaml.YAMLError as error:
        errors = [{"message": str(error)}]
    return JSONResponse({"errors": errors, "warnings": []}, 400 if errors else 200)


def _add(call: Call, names: dict[str, str], name: str, oid: str) -> None:
    if name in names:
        raise Refusal(409, "Reference already exists")
    names[name] = oid
    call.store.save()


def _remove(call: Call, names: dict[str, str], name: str) -> None:
    if name not in names:
        raise no_revision(name)
    del names[name]
    call.store.save()


def _kind(body: dict[str, Any]) -> str:
    kind = f"{body.get('type') or 'model'}s"
    if kind not in KINDS:
        raise Refusal(400, f"There are no {kind} here, only {' and '.join(KINDS)}")
    return kind


def _url(request: Request, repository: Repository) -> str:
    return f"{endpoint(request)}/{repository.path}"
