"""Take what `training_args` say of pushing to the Hub out of them: Trainer never pushes, so it never gets them.

Knows their names, present and former, and their types; asks no Hub.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from pgml.runtime.mistakes import Mistakes, shown
from pgml.runtime.tuning.arguments.coerce import Unfit, coerce

OWNER = "training_args"
NAMES = ("push_to_hub", "hub_model_id", "hub_private_repo", "hub_strategy", "hub_always_push", "hub_revision")
DEFAULTS = {"hub_private_repo": True, "hub_strategy": "every_save", "hub_always_push": False}
"""Trainer's own, but for the privacy: what was made of a table's rows is shown to everybody only if asked for."""
TOKENS = ("hub_token", "push_to_hub_token")
MODEL_ID, ORGANISATION = "push_to_hub_model_id", "push_to_hub_organization"  # former names
CHECKPOINTS = ("checkpoint", "all_checkpoints")

Fields = dict[str, dataclasses.Field[Any]]


def take_push_args(
    given: dict[str, Any], fields: Fields, mistakes: Mistakes, notices: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The other arguments, and those of pushing with present names and fitting types; these are empty for no push."""
    others = {name: value for name, value in given.items() if name not in (*NAMES, *TOKENS, MODEL_ID, ORGANISATION)}
    asked = {name: given[name] for name in NAMES if given.get(name) is not None}
    repository = _former_repository(given, mistakes, notices)
    if repository is not None and asked.setdefault("hub_model_id", repository) != repository:
        mistakes.add(f'"hub_model_id" and its former names in {OWNER} do not say the same')
    values = {}
    for name, value in asked.items():
        try:
            values[name] = coerce(value, fields[name])
        except Unfit as unfit:
            mistakes.add(f'"{name}" in {OWNER} must be {unfit}, not {shown(name, value)}', hint=unfit.hint)
    if "push_to_hub" in asked and values.get("push_to_hub"):
        return others, {**DEFAULTS, **values}
    without = sorted(asked.keys() - {"push_to_hub"})
    if without:
        notices.append(f"{OWNER} without effect, because push_to_hub is not true: {', '.join(without)}")
    return others, {}


def notice_without_checkpoints(values: dict[str, Any], given: dict[str, Any], notices: list[str]) -> None:
    """Tell that a strategy that pushes with each checkpoint has none to push."""
    strategy = values.get("hub_strategy")
    if (
        values.get("push_to_hub")
        and values["save_strategy"] == "no"
        and given.get("hub_strategy")
        and strategy != "end"
    ):
        notices.append(f'hub_strategy "{strategy}" pushes at the end only, because save_strategy is "no"')


def _former_repository(given: dict[str, Any], mistakes: Mistakes, notices: list[str]) -> str | None:
    """What the former names say: an organisation alone ends with a slash, for a repository named after the project."""
    model_id, organisation = given.get(MODEL_ID), given.get(ORGANISATION)
    for name, value in ((MODEL_ID, model_id), (ORGANISATION, organisation)):
        if value is not None and not isinstance(value, str):
            mistakes.add(f'"{name}" in {OWNER} must be a string, not {shown(name, value)}')
            return None
    former = [name for name in (MODEL_ID, ORGANISATION) if given.get(name)]
    if not former:
        return None
    notices.append(f"{OWNER} under their present names: {', '.join(f'{name} is hub_model_id' for name in former)}")
    return str(model_id) if not organisation else f"{organisation}/{model_id or ''}"
