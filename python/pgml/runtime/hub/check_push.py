"""Errand: find out the full name of the repository to push to, and whether a push would be taken, without pushing.

Knows nothing of models and of what will be pushed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils._validators import validate_repo_id

from pgml.runtime.errors import (
    INSUFFICIENT_PRIVILEGE,
    INVALID_PARAMETER_VALUE,
    OBJECT_NOT_IN_PREREQUISITE_STATE,
    RuntimeFault,
)
from pgml.runtime.hub.client import SECONDS_FOR_A_LOOK
from pgml.runtime.hub.errors import as_hub_fault
from pgml.runtime.hub.names import default_name
from pgml.runtime.nearest import quoted_list

if TYPE_CHECKING:
    from pgml.runtime.hub.errand import Out


def run(request: dict[str, Any], payload: bytes, out: Out) -> dict[str, Any]:  # noqa: ARG001 as all errands
    """The repository's full name, and whether it exists."""
    return check_push(request["hub"], request.get("repo_id"), request.get("project") or "")


def check_push(hub: dict[str, Any], repo_id: str | None, project: str) -> dict[str, Any]:
    """As above; a fault says why nothing could be pushed."""
    name = _valid(repo_id) if repo_id and not repo_id.endswith("/") else f"{repo_id or ''}{default_name(project)}"
    api = api_to_push(hub)
    try:
        account = api.whoami()
        name = _full_name(name, account)
        try:
            info = api.model_info(name, timeout=SECONDS_FOR_A_LOOK)
        except RepositoryNotFoundError:
            return {"repo_id": name, "exists": False, "private": None}
    except RuntimeFault:
        raise
    except Exception as error:
        raise as_hub_fault(error, f"push to {name}", name) from error
    return {"repo_id": name, "exists": True, "private": bool(info.private)}


def api_to_push(hub: dict[str, Any]) -> HfApi:
    """A client with the token to push with; a fault if there is none, or if the Hub must not be asked."""
    if hub.get("offline"):
        raise RuntimeFault(
            "cannot push to the Hub: the server works offline",
            sqlstate=OBJECT_NOT_IN_PREREQUISITE_STATE,
            hint="An administrator can allow connections to the Hub: SET pgml.hub_offline = off.",
        )
    token = hub.get("push_token")
    if not token:
        raise RuntimeFault(
            "cannot push to the Hub without an access token",
            sqlstate=INSUFFICIENT_PRIVILEGE,
            hint="Give one with the call, or keep one for your role: SELECT pgml.set_secret('hub_token', '…');"
            " an administrator can set pgml.hub_token.",
        )
    return HfApi(endpoint=hub.get("endpoint") or None, token=str(token))


def _valid(repo_id: str) -> str:
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise RuntimeFault(
            f'"{repo_id}" is not a name that a repository on the Hub can have',
            sqlstate=INVALID_PARAMETER_VALUE,
            hint="Names are of the form name or owner/name, of letters, digits, -, _ and ., at most 96 characters,"
            " without -- and .. in them, and without - or . at an end.",
        ) from error
    return repo_id


def _full_name(name: str, account: dict[str, Any]) -> str:
    """The name with its namespace, in which the account's token may write."""
    user = str(account["name"])
    organisations = [str(one["name"]) for one in account.get("orgs") or [] if one.get("roleInOrg") != "read"]
    namespace, _, last = name.rpartition("/")
    namespace = namespace or user
    full = f"{namespace}/{last}"
    if namespace not in (user, *organisations):
        raise RuntimeFault(
            f'"{user}" may not push to "{full}" on the Hub',
            sqlstate=INSUFFICIENT_PRIVILEGE,
            detail=f'"{namespace}" is neither the user of the token nor an organization in which that user may write.',
            hint=f"Namespaces of the token are: {quoted_list([user, *organisations])}.",
        )
    if not may_write((account.get("auth") or {}).get("accessToken") or {}, namespace, full):
        raise RuntimeFault(
            f'the access token of "{user}" may not write to "{full}" on the Hub',
            sqlstate=INSUFFICIENT_PRIVILEGE,
            hint="Make a token with write access in the settings of the account on the Hub.",
        )
    return full


def may_write(token: dict[str, Any], namespace: str, repository: str) -> bool:
    """Whether a token, as whoami describes it, may push.

    >>> may_write({"role": "read"}, "me", "me/model"), may_write({"role": "write"}, "me", "me/model")
    (False, True)
    >>> fine = {"entity": {"type": "user", "name": "me"}, "permissions": ["repo.content.read", "repo.write"]}
    >>> fine_grained = {"role": "fineGrained", "fineGrained": {"scoped": [fine]}}
    >>> may_write(fine_grained, "me", "me/model"), may_write(fine_grained, "other", "other/model")
    (True, False)
    """
    scoped = (token.get("fineGrained") or {}).get("scoped")
    if token.get("role") != "fineGrained" or scoped is None:
        return token.get("role") != "read"
    return any(
        "repo.write" in scope.get("permissions", ()) and scope.get("entity", {}).get("name") in (namespace, repository)
        for scope in scoped
    )
