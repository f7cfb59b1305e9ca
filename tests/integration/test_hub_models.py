"""Models by their names on the Hub: which version, who may, what is downloaded when, what serves without the Hub."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.cluster import wait_until
from tests.integration.hub_calls import ADAPTER, CHAT_BASE, CLASSIFIER, label_of, refused, transform
from tests.integration.hub_database import client_of, copy_to_private, downloads, on_base, pushed_files
from tests.integration.jobs import LONG, REVIEWS, listen, make_role, refusal, tune_reviews

VERSIONS = "tester/two-versions"
PRIVATE = "tester/private-classifier"
FORBIDDEN, UNDEFINED, UNREACHABLE, CANCELED = "42501", "42704", "08006", "57014"
SOON = 1.0
"""A cancelled statement is over within so many seconds."""


@pytest.fixture(scope="module")
def models(with_hub, shared_hub):
    """A database with rows, a Hub with a private model and one of two versions, and roles of which one has a token."""
    with_hub.run(REVIEWS)
    for role in ("hub_reader", "hub_other"):
        make_role(with_hub, role)
    with_hub.run("GRANT SELECT ON reviews TO PUBLIC")
    with_hub.run("SELECT pgml.set_secret('hub_token', 'hf_reader')", user="hub_reader")
    copy_to_private(shared_hub, CLASSIFIER, PRIVATE)
    copy_to_private(shared_hub, CLASSIFIER, VERSIONS)
    with client_of(shared_hub) as api:
        api.update_repo_settings(VERSIONS, private=False)
        api.create_tag(VERSIONS, tag="release-1")
        config = json.loads(pushed_files(shared_hub, VERSIONS)["config.json"])
        names = {"0": "bad", "1": "good"}
        config |= {"id2label": names, "label2id": {name: int(number) for number, name in names.items()}}
        api.upload_file(repo_id=VERSIONS, path_in_repo="config.json", path_or_fileobj=json.dumps(config).encode())
    return with_hub


def set_for_role(database, role, *settings):
    """Set what the administrator sets for a role; nothing else stays."""
    alter = f"ALTER ROLE {role} IN DATABASE {database.name}"
    database.run("; ".join(["LOAD 'pgml'", f"{alter} RESET ALL", *(f"{alter} SET {each}" for each in settings)]))


def test_a_revision_chooses_the_version(models, hub):
    assert label_of(models, VERSIONS) in ("bad", "good")
    assert label_of(models, f"{VERSIONS}@release-1") in ("negative", "positive")
    assert label_of(models, VERSIONS, revision="release-1") in ("negative", "positive")
    with client_of(hub) as api:
        commit = api.model_info(VERSIONS, revision="release-1").sha
    hub.forget()
    assert label_of(models, f"{VERSIONS}@{commit}") in ("negative", "positive")
    assert not hub.requests  # a commit that is cached does not change
    said = refused(models, transform(VERSIONS, revision="release-2"))
    assert said.sqlstate == UNDEFINED
    assert "release-2" in said.message_primary + said.message_detail
    assert "release-1" in said.message_hint


def test_tuning_begins_from_a_revision(models, hub):
    hub.forget()
    with models.connect() as connection:
        hyperparams = {**LONG, "revision": "release-1"}
        row = tune_reviews(connection, "revision", model_name=VERSIONS, hyperparams=hyperparams, wait=False)
        connection.execute("SELECT pgml.cancel(%s)", [row.model_id])  # the base is there by now
    assert models.value("SELECT base_model FROM pgml.models WHERE id = %s", row.model_id) == f"{VERSIONS}@release-1"
    assert not downloads(hub)  # it was, since it was asked


def test_a_project_comes_before_the_hub(models, hub):
    models.run("INSERT INTO pgml.projects (name, task) VALUES (%s, 'text_classification')", "tester/two")
    said = refused(models, transform("tester/two"))
    assert said.sqlstate == "55000"  # it has no deployed model
    assert not hub.requests


def test_what_is_not_there_is_refused_with_the_nearest_name(models, hub):
    said = refused(models, transform("santiadavani/imdb_review_sentiment"))
    assert said.sqlstate == UNDEFINED
    assert "santiadavani/imdb_review_sentiment" in said.message_primary
    assert CLASSIFIER in said.message_hint
    assert "may not be read" in said.message_primary + said.message_detail  # nor does it say whether it is private


def test_a_private_model_is_for_the_role_that_has_a_token(models, hub):
    assert label_of(models, PRIVATE, user="hub_reader") in ("negative", "positive")
    offline = "pgml.hub_offline = on"
    set_for_role(models, "hub_reader", offline)
    assert label_of(models, PRIVATE, user="hub_reader") in ("negative", "positive")
    assert len(downloads(hub)) == 1
    for settings in ((), (offline,)):  # and nobody else gets it from the cache
        set_for_role(models, "hub_other", *settings)
        assert refused(models, transform(PRIVATE), user="hub_other").sqlstate == UNDEFINED
        assert refused(models, transform(PRIVATE), *settings).sqlstate == UNDEFINED
    set_for_role(models, "hub_reader")
    set_for_role(models, "hub_other")


def test_offline_only_what_was_downloaded_is_used(models, hub):
    said = refused(models, transform("distilbert/distilbert-base-uncased", "fill-mask"), "pgml.hub_offline = on")
    assert (said.sqlstate, "pgml.hub_offline" in said.message_hint) == (UNDEFINED, True)
    assert label_of(models, CLASSIFIER)
    hub.forget()
    with models.connect() as connection:
        connection.execute("SET pgml.hub_offline = on")
        connection.execute(transform(CLASSIFIER))
    assert not hub.requests


def test_without_the_hub_what_was_downloaded_serves_on(models, hub):
    assert label_of(models, CLASSIFIER)
    with hub.down(), models.connect() as connection:
        heard = listen(connection)
        # With a token that was not seen before, nothing is known of the model in memory.
        assert connection.execute(transform(CLASSIFIER, token="hf_reader")).fetchone()[0][0]["label"]
        assert any("which was downloaded before" in message.text for message in heard)
        said = refusal(connection, transform("distilbert-base-uncased", "fill-mask"))
        assert (said.sqlstate, "pgml.hub_offline" in said.message_hint) == (UNREACHABLE, True)


def test_sessions_that_want_the_same_model_share_one_download(models, hub):
    copy_to_private(hub, CLASSIFIER, "tester/for-many")
    hub.forget()
    hub.disturb(path="/resolve/.*safetensors", bytes_per_second=200_000, times=None)
    with ThreadPoolExecutor(4) as pool:
        labels = list(pool.map(lambda _: label_of(models, "tester/for-many", token="hf_reader"), range(4)))
    assert len(set(labels)) == 1
    assert len(downloads(hub)) == 1


@pytest.mark.parametrize("way", ["a cancel", "a timeout"])
def test_a_slow_download_ends_with_its_statement(models, hub, way):
    name = f"tester/slow-{way[2:]}"
    copy_to_private(hub, CLASSIFIER, name)
    hub.forget()
    hub.disturb(path="/resolve/.*safetensors", bytes_per_second=2_000, times=None)
    query = transform(name, token="hf_reader")
    with models.connect() as connection, ThreadPoolExecutor(1) as pool:
        if way == "a timeout":
            connection.execute("SET statement_timeout = '3s'")
        running = pool.submit(refusal, connection, query)
        wait_until(lambda: downloads(hub), "the download")
        if way == "a cancel":
            since = time.monotonic()
            connection.cancel_safe(timeout=5)
            assert running.result(SOON).sqlstate == CANCELED
            assert time.monotonic() - since < SOON
        assert running.result(10).sqlstate == CANCELED
        connection.execute("RESET statement_timeout")
        said = refusal(connection, "SET pgml.hub_offline = on; " + query)
        assert said.sqlstate == UNDEFINED  # nothing half-made is taken for a model
        connection.execute("SET pgml.hub_offline = off")
        hub.heal()
        assert connection.execute(query).fetchone()[0][0]["label"]


def test_the_base_of_an_adapter_is_found_with_the_token_of_the_call(models, hub):
    copy_to_private(hub, CHAT_BASE, "tester/private-base")
    copy_to_private(hub, ADAPTER, "tester/private-adapter", on_base("tester/private-base"))
    wanted = "tester/private-adapter", "conversation"
    assert refused(models, transform(*wanted)).sqlstate == UNDEFINED
    assert models.value(transform(*wanted), user="hub_reader")
    assert models.value(transform(*wanted, token="hf_reader"))
