"""Plan the pushes of a job before it starts: where to, and whether the Hub would take them. Reads no rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgml.runtime.errors import Cancelled, RuntimeFault
from pgml.runtime.hub.errands import Errands, never
from pgml.runtime.mistakes import Mistakes

if TYPE_CHECKING:
    from pgml.runtime.serving.client import Client


def plan_push(
    training_args: dict[str, Any],
    header: dict[str, Any],
    errands: Errands | None,
    client: Client | None,
    mistakes: Mistakes,
    notices: list[str],
) -> dict[str, Any] | None:
    """The "push" of a plan; None for a job that pushes nothing, or whose pushes the Hub would refuse."""
    if not training_args.get("push_to_hub"):
        return None
    assert errands is not None
    asked = {"repo_id": training_args.get("hub_model_id"), "project": header["project"]}
    try:
        request = {"op": "check_push", "hub": header.get("hub"), **asked}
        *_, (found, _) = errands.run(request, cancelled=client.cancelled if client else never)
    except Cancelled:
        raise
    except RuntimeFault as fault:
        mistakes.add(fault.message, hint=fault.hint, sqlstate=fault.sqlstate)
        return None
    private = training_args["hub_private_repo"]
    seen_by = (
        "a private repository" if (found["private"] if found["exists"] else private) else "which everybody can read"
    )
    notices.append(f'the model is pushed to "{found["repo_id"]}" on the Hub, {seen_by}')
    return {
        "repo_id": found["repo_id"],
        "private": private,
        "strategy": training_args["hub_strategy"],
        "always_push": training_args["hub_always_push"],
        "revision": training_args.get("hub_revision"),
    }
