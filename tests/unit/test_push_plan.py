"""What training_args say of pushing, and what is planned of it before a job starts."""

from __future__ import annotations

import json

import pytest
from hub_requests import hub_object

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.hub.errands import Errands
from pgml.runtime.mistakes import Mistakes
from pgml.runtime.tuning.arguments.training_args import at_run, check_training_args
from pgml.runtime.tuning.arguments.training_defaults import Subject
from pgml.runtime.tuning.check import check_tune

DEFAULTS = {"push_to_hub": True, "hub_private_repo": True, "hub_strategy": "every_save", "hub_always_push": False}


def check(given):
    mistakes, notices = Mistakes(), []
    values = check_training_args(given, Subject(), mistakes, notices, [])
    mistakes.raise_if_any()
    return {name: value for name, value in values.items() if "hub" in name}, notices


def message_of(given):
    with pytest.raises(RuntimeFault) as caught:
        check(given)
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize("true", [True, "true", "True"])
def test_a_push_is_private_and_made_with_every_checkpoint(true):
    assert check({"push_to_hub": true}) == (DEFAULTS, [])


def test_all_settings_are_kept_with_their_types():
    given = {"hub_model_id": "me/x", "hub_private_repo": "false", "hub_strategy": "end", "hub_always_push": "true"}
    values, notices = check({"push_to_hub": True, "hub_revision": "dev", **given})
    kept = {"hub_model_id": "me/x", "hub_private_repo": False, "hub_strategy": "end", "hub_always_push": True}
    assert (values, notices) == ({"push_to_hub": True, "hub_revision": "dev", **kept}, [])
    assert check(values) == (values, [])


def test_tokens_are_dropped():
    assert check({"push_to_hub": True, "hub_token": "hf_x", "push_to_hub_token": "hf_y"}) == (DEFAULTS, [])


@pytest.mark.parametrize("off", [{}, {"push_to_hub": False}, {"push_to_hub": "false"}, {"push_to_hub": None}])
def test_without_a_push_its_settings_are_told_to_have_no_effect(off):
    told = "training_args without effect, because push_to_hub is not true: hub_model_id, hub_strategy"
    assert check({**off, "hub_model_id": "me/x", "hub_strategy": "end"}) == ({}, [told])
    assert check({**off, "hub_model_id": None, "hub_token": "hf_x"}) == ({}, [])


@pytest.mark.parametrize(
    ("given", "model_id", "told"),
    [
        ({"push_to_hub_model_id": "x"}, "x", "push_to_hub_model_id is hub_model_id"),
        ({"push_to_hub_organization": "us"}, "us/", "push_to_hub_organization is hub_model_id"),
        (
            {"push_to_hub_organization": "us", "push_to_hub_model_id": "x"},
            "us/x",
            "push_to_hub_model_id is hub_model_id, push_to_hub_organization is hub_model_id",
        ),
    ],
)
def test_former_names_are_taken_and_told(given, model_id, told):
    values, notices = check({"push_to_hub": True, **given})
    assert values["hub_model_id"] == model_id
    assert notices == [f"training_args under their present names: {told}"]


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"hub_strategy": "every_safe"}, "must be one of end, every_save, checkpoint, all_checkpoints", "every_save"),
        ({"push_to_hub": "yes"}, '"push_to_hub" in training_args must be true or false, not "yes"', None),
        ({"hub_private_repo": 3}, '"hub_private_repo" in training_args must be true or false', None),
        ({"hub_model_id": 3}, '"hub_model_id" in training_args must be a string', None),
        ({"push_to_hub_model_id": 3}, '"push_to_hub_model_id" in training_args must be a string', None),
        ({"hub_model_id": "a", "push_to_hub_model_id": "b"}, "do not say the same", None),
    ],
)
def test_what_does_not_fit_is_named(given, message, hint):
    words, told = message_of({"push_to_hub": True, **given})
    assert message in words
    assert hint is None or hint in told


def test_a_strategy_without_checkpoints_is_told_to_push_at_the_end():
    told = ['hub_strategy "checkpoint" pushes at the end only, because save_strategy is "no"']
    assert check({"push_to_hub": True, "hub_strategy": "checkpoint", "save_strategy": "no"})[1] == told
    assert check({"push_to_hub": True, "save_strategy": "no"})[1] == []
    assert check({"push_to_hub": True, "hub_strategy": "end", "save_strategy": "no"})[1] == []


def test_trainer_gets_none_of_it():
    values = check_training_args({"push_to_hub": True, "hub_model_id": "me/x"}, Subject(), Mistakes(), [], [])
    assert not [name for name in at_run(values, 100) if "hub" in name]


@pytest.fixture
def errands():
    errands = Errands()
    yield errands
    errands.close()


@pytest.fixture
def plan(tiny_model, hub, errands, tmp_path):
    """Plans a job with training_args."""

    def plan(push_token="hf_writer", project="reviews", test_size=0.25, **training_args):
        header = {
            "project": project,
            "task": "text-classification",
            "model": {"kind": "directory", "name": "tiny", "path": "/models/tiny"},
            "relation": {"name": "reviews", "columns": [{"name": n, "type": "text"} for n in ("text", "label")]},
            "hyperparams": {"training_args": {"push_to_hub": True, **training_args}},
            "test_size": test_size,
            "test_sampling": "stratified",
            "hub": hub_object(hub, tmp_path / "cache", push_token),
        }
        return check_tune(header, str(tiny_model("bert")), errands)

    return plan


def test_the_plan_names_the_repository_in_full(plan, hub):
    planned = plan(project="our reviews", hub_revision="dev")
    assert planned["push"] == {
        "repo_id": "tester/our_reviews",
        "private": True,
        "strategy": "every_save",
        "always_push": False,
        "revision": "dev",
    }
    assert 'the model is pushed to "tester/our_reviews" on the Hub, a private repository' in planned["notices"]
    assert "hf_writer" not in json.dumps(planned)
    assert not [one for one in hub.requests if one.method != "GET"], "nothing is made yet"


def test_an_organisation_has_a_repository_named_after_the_project(plan):
    planned = plan(push_to_hub_organization="testers", hub_private_repo=False)
    assert planned["push"]["repo_id"] == "testers/reviews"
    assert 'the model is pushed to "testers/reviews" on the Hub, which everybody can read' in planned["notices"]


def test_a_push_that_would_be_refused_is_told_with_all_other_mistakes(plan):
    with pytest.raises(RuntimeFault) as caught:
        plan(push_token="hf_reader", test_size=1)
    assert caught.value.message == "2 settings are not valid"
    assert 'The access token of "tester" may not write to "tester/reviews" on the Hub.' in caught.value.detail


def test_without_a_push_the_hub_is_not_asked(plan, hub):
    assert plan(push_to_hub=False)["push"] is None
    assert hub.requests == []
