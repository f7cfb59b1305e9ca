"""What an administrator allows of the Hub: which repositories, whose code, and that nobody else decides."""

from __future__ import annotations

import json

import pytest
from tests.integration.hub_calls import ADAPTER, CLASSIFIER, label_of, refused, transform
from tests.integration.hub_database import copy_to_private, downloads
from tests.integration.jobs import REVIEWS, listen, make_role, refusal

FORBIDDEN = "42501"


@pytest.fixture(scope="module")
def policed(with_hub):
    """A database with rows and an ordinary role."""
    with_hub.run(REVIEWS)
    make_role(with_hub, "hub_other")
    return with_hub


TUNE = """SELECT pgml.tune('denied', 'text-classification', 'reviews', 'verdict', '{}')"""
WAYS = {
    "transform": (transform(CLASSIFIER), "santiadavani/*"),
    "a stream": (
        f"""SELECT pgml.transform_stream('{{"model": "{ADAPTER}"}}'::jsonb, '{{}}', 'Hello')""",
        "santiadavani/*",
    ),
    "a tuning": (TUNE.format(CLASSIFIER), "santiadavani/*"),
    "a pull": (f"SELECT pgml.pull_from_hub('{CLASSIFIER}')", "santiadavani/*"),
    "the base of an adapter": (transform(ADAPTER, "conversation"), "meta-llama/*"),
    "another name of it": (TUNE.format("distilbert-base-uncased"), "distilbert/*"),
    "upper case": (transform(CLASSIFIER), "SantiAdavani/IMDB*"),
    "a data set": ("SELECT pgml.load_dataset('stanfordnlp/imdb')", "stanfordnlp/*"),
    "another name of a data set": ("SELECT pgml.load_dataset('imdb')", "stanfordnlp/*"),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_the_administrator_denies_is_reached_in_no_way(policed, hub, way):
    query, pattern = WAYS[way]
    said = refused(policed, query, f"pgml.hub_deny = 'nobody/*, {pattern}'")
    assert (said.sqlstate, "is not allowed here" in said.message_primary) == (FORBIDDEN, True)
    assert "pgml.hub_deny" in said.message_detail
    repository = pattern.partition("/")[0].lower()
    assert not [one for one in hub.requests if repository in one.path.lower() and "/resolve/" in one.path]


def test_what_is_not_on_the_list_of_the_administrator_is_refused(policed, hub):
    assert label_of(policed, CLASSIFIER)  # and is in the cache and in memory now
    said = refused(policed, transform(CLASSIFIER), "pgml.hub_allow = 'tester/*,sentence-transformers/*'")
    assert (said.sqlstate, "pgml.hub_allow" in said.message_detail) == (FORBIDDEN, True)
    offline = "pgml.hub_allow = 'tester/*'", "pgml.hub_offline = on"
    assert refused(policed, transform(CLASSIFIER), *offline).sqlstate == FORBIDDEN
    with policed.connect() as connection:
        connection.execute("SET pgml.hub_allow = 'tester/*, santiadavani/imdb*'")
        connection.execute(transform(CLASSIFIER))


ABOUT_HUB = [f"hub_{name}" for name in ("endpoint", "offline", "cache", "token", "allow", "deny")]


@pytest.mark.parametrize("name", [*ABOUT_HUB, "trust_remote_code", "data_directories", "data_urls"])
def test_an_ordinary_role_cannot_change_the_policy(policed, name):
    with policed.connect("hub_other") as connection:
        connection.execute(f"SET pgml.{name} = 'off'")  # of a library that is not loaded yet, nothing is known …
        heard = listen(connection)
        connection.execute("SELECT pgml.version()")
        assert any("permission denied" in message.text for message in heard)  # … and then it is taken back
        assert refusal(connection, f"SET pgml.{name} = 'off'").sqlstate == FORBIDDEN
        assert refusal(connection, f"ALTER ROLE hub_other SET pgml.{name} = 'off'").sqlstate == FORBIDDEN
        query = f"SELECT current_setting('pgml.{name}') FROM pgml.version()"
        if name == "hub_token":
            assert refusal(connection, query).sqlstate == FORBIDDEN  # nor read it
        else:
            assert connection.execute(query).fetchone()[0] == policed.value(query)


CONFIGURATION = """
from transformers import DistilBertConfig

class OwnConfig(DistilBertConfig):
    model_type = "own"
"""
MODELING = """
from transformers import DistilBertForSequenceClassification
from .configuration_own import OwnConfig

class OwnModel(DistilBertForSequenceClassification):
    config_class = OwnConfig
"""


def with_own_code(folder):
    (folder / "configuration_own.py").write_text(CONFIGURATION)
    (folder / "modeling_own.py").write_text(MODELING)
    file = folder / "config.json"
    classes = {
        "AutoConfig": "configuration_own.OwnConfig",
        "AutoModelForSequenceClassification": "modeling_own.OwnModel",
    }
    changes = {"model_type": "own", "architectures": ["OwnModel"], "auto_map": classes}
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_code_that_comes_with_a_model_runs_only_where_the_administrator_trusts_it(policed, hub):
    name = "tester/own-code"
    copy_to_private(hub, CLASSIFIER, name, with_own_code)
    hub.forget()
    for more in ({}, {"trust_remote_code": True}):
        said = refused(policed, transform(name, token="hf_reader", **more), "pgml.trust_remote_code = 'others/*'")
        assert said.sqlstate in ("0A000", FORBIDDEN)
    assert not downloads(hub, ".py")
    with policed.connect() as connection:
        connection.execute("SET pgml.trust_remote_code = 'tester/own-*'")
        answer = connection.execute(transform(name, token="hf_reader")).fetchone()[0]
    assert answer[0]["label"] in ("negative", "positive")
