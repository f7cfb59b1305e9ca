"""What an administrator allows of the Hub: by the name as given and by the Hub's own, before anything is downloaded."""

from __future__ import annotations

import pytest
from hub_requests import hub_object

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.hub.errands import Errand
from pgml.runtime.hub.policy import check_allowed, matching, may_run_code
from pgml.runtime.hub.settings import HubSettings

OLD_NAME, NAME = "distilbert-base-uncased", "distilbert/distilbert-base-uncased"


@pytest.fixture
def download(hub, tmp_path):
    """Ask for a model as an errand does; the answer or the fault."""

    def download(name=OLD_NAME, **settings):
        settings = hub_object(hub, tmp_path / "cache", **settings)
        try:
            with Errand.start(settings, {"op": "model", "repo": name, "revision": None}) as errand:
                return errand.result()
        except RuntimeFault as fault:
            return fault

    return download


@pytest.mark.parametrize(
    ("name", "patterns", "found"),
    [
        ("org/name", "*", "*"),
        ("org/name", "org/*", "org/*"),
        ("Org/Name", "other/*, oRG/n?me ", "oRG/n?me"),
        ("org/name", "", None),
        ("org/name", " , ", None),
        ("org/name", "name", None),
        ("name", "*/*", None),
    ],
)
def test_patterns(name, patterns, found):
    assert matching(name, patterns) == found


def settings(**changes):
    return HubSettings.from_request({"role": "10", **changes})


def test_everything_is_allowed_at_first_and_no_code_is_run():
    check_allowed(settings(), "org/name", "name")
    assert not may_run_code(settings(), "org/name")
    assert may_run_code(settings(trust_remote_code="org/*"), "org/name")


def test_a_denial_outweighs():
    with pytest.raises(RuntimeFault) as caught:
        check_allowed(settings(allow="org/*", deny="org/bad*"), "org/bad-one")
    assert caught.value.sqlstate == "42501"
    assert caught.value.message == 'Hub repository "org/bad-one" is not allowed here'
    assert caught.value.detail == 'It fits "org/bad*" in pgml.hub_deny.'


def test_what_fits_nothing_is_refused():
    with pytest.raises(RuntimeFault) as caught:
        check_allowed(settings(allow="org/*, me/x"), "other/name")
    assert caught.value.detail == 'It fits nothing in pgml.hub_allow, which is "org/*, me/x".'
    with pytest.raises(RuntimeFault):
        check_allowed(settings(allow=""), "other/name")


def test_a_refused_name_is_not_even_asked_about(download, hub):
    assert download(deny=OLD_NAME).sqlstate == "42501"
    assert hub.requests == []


@pytest.mark.parametrize("rule", [{"deny": "distilbert/*"}, {"allow": OLD_NAME}])
def test_an_old_name_does_not_get_around_a_rule(download, hub, rule):
    fault = download(**rule)
    assert (fault.sqlstate, fault.message) == ("42501", f'Hub repository "{NAME}" is not allowed here')
    assert not [one for one in hub.requests if "/resolve/" in one.path]


def test_a_rule_that_came_later_holds_for_what_is_cached(download, hub):
    assert download()["id"] == NAME
    assert download(deny="distilbert/*").sqlstate == "42501"
    assert download(deny="distilbert/*", offline=True).sqlstate == "42501"
    assert download(deny=OLD_NAME, offline=True).sqlstate == "42501"
    with hub.down():
        assert download(deny="distilbert/*").sqlstate == "42501"
    assert download(offline=True)["id"] == NAME


def test_what_is_refused_is_not_suggested(download):
    assert "Perhaps" in download("distilbert/distilbert-base-uncase").hint
    assert "Perhaps" not in download("distilbert/distilbert-base-uncase", deny=NAME).hint
