"""Models go to the Hub and come back: pushed by their job or later, pulled into a project, tuned on from there."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.cluster import wait_until
from tests.integration.hub_database import cache_of, client_of, pushed_files
from tests.integration.jobs import REVIEWS, listen, make_role, refusal, tune, tune_reviews, wait_for

TRAINING = {"max_steps": 20, "learning_rate": 0.01, "eval_strategy": "no", "save_strategy": "steps", "save_steps": 10}
TEXTS = ["wonderful film, a joy", "terrible waste, no sense"]
TALK = {
    "task": "conversation",
    "relation_name": "reviews",
    "hyperparams": {
        "training_args": TRAINING | {"max_steps": 4, "save_steps": 2},
        "dataset_args": {"user_column": "text", "assistant_column": "verdict"},
        "lora_config": {"r": 2},
    },
}
FORBIDDEN, UNDEFINED = "42501", "42704"


@pytest.fixture(scope="module")
def pushing(with_hub):
    """A database with rows, in which the caller has a token of the Hub."""
    with_hub.run(REVIEWS)
    with_hub.run("SELECT pgml.set_secret('hub_token', 'hf_writer')")
    return with_hub


def to(repository, strategy="end", **more):
    """What makes a job push its model."""
    return {"push_to_hub": True, "hub_model_id": repository, "hub_strategy": strategy, **more}


def hub_of(database, model_id):
    return database.value("SELECT hub FROM pgml.models WHERE id = %s", model_id)


def commits(hub, repository):
    with client_of(hub) as api:
        return [commit.commit_id for commit in api.list_repo_commits(repository)]


def predictions(database, project):
    return database.value("SELECT pgml.predict(%s, %s::text[])", project, TEXTS)


@pytest.fixture(scope="module")
def pushed(pushing):
    """A job that pushed each of its checkpoints and its model."""
    with pushing.connect() as connection:
        training_args = TRAINING | to("tester/reviews", "every_save", hub_always_push=True)
        return tune_reviews(connection, "reviews", hyperparams={"training_args": training_args})


def test_a_job_pushes_its_checkpoints_and_its_model(pushing, hub, pushed):
    assert pushed.status == "successful"
    history = commits(hub, "tester/reviews")
    told = hub_of(pushing, pushed.model_id)
    assert told == {
        "repo_id": "tester/reviews",
        "url": f"{hub.endpoint}/tester/reviews",
        "commit": history[0],
        "private": True,
    }
    query = "SELECT logs->'push'->>'commit' FROM pgml.logs WHERE model_id = %s AND logs ? 'push' ORDER BY id"
    assert [(commit,) for commit in history[1:-1]][::-1] == pushing.run(query, pushed.model_id)
    assert len(history) == 4  # the repository, steps 10 and 20, the model


def test_what_is_pushed_is_the_model_and_a_card_without_data(pushing, hub, pushed):
    stored = dict(
        pushing.run("SELECT path, string_agg(data, '' ORDER BY part) FROM pgml.files GROUP BY model_id, path")
    )
    files = pushed_files(hub, "tester/reviews")
    assert files.keys() - stored.keys() <= {"README.md", ".gitattributes"}
    assert {path: files[path] for path in stored} == stored
    card = files["README.md"].decode()
    assert "reviews" in card
    assert "wonderful film" not in card
    assert not [path for path in files if path.endswith((".bin", ".pt", ".pth"))]


def test_a_token_that_may_only_read_is_refused_before_training(pushing, hub):
    training_args = TRAINING | to("tester/never", hub_token="hf_reader")
    with pushing.connect() as connection:
        jobs = "SELECT count(*) FROM pgml.models"
        before = connection.execute(jobs).fetchone()
        with pytest.raises(Exception, match="write") as caught:
            tune_reviews(connection, "reviews", hyperparams={"training_args": training_args})
        assert caught.value.sqlstate == FORBIDDEN
        assert connection.execute(jobs).fetchone() == before


def test_a_pulled_model_answers_as_the_original(pushing, hub, pushed):
    pulled = pushing.run("SELECT * FROM pgml.pull_from_hub('tester/reviews', 'pulled')")[0]
    assert pulled[:2] == ("pulled", "text_classification")
    assert pulled[3] == commits(hub, "tester/reviews")[0]
    assert predictions(pushing, "pulled") == predictions(pushing, "reviews")
    assert hub_of(pushing, pulled[2]) == {"repo_id": "tester/reviews", "commit": pulled[3], "pulled": True}
    make_role(pushing, "hub_nobody")
    with pushing.connect("hub_nobody") as connection:
        assert refusal(connection, "SELECT pgml.pull_from_hub('tester/reviews', 'mine')").sqlstate == UNDEFINED


def test_a_push_that_fails_leaves_the_model_and_can_be_made_later(pushing, hub, pushed):
    hub.fail(403, "/commit/", times=None)
    with pushing.connect() as connection:
        heard = listen(connection)
        training_args = TRAINING | to("tester/later")
        row = tune_reviews(
            connection, "later", model_name="tester/reviews", hyperparams={"training_args": training_args}
        )
    assert (row.status, row.deployed) == ("successful", True)
    warnings = [message.text for message in heard if message.severity == "WARNING"]
    assert any("tester/later" in text for text in warnings)
    told = hub_of(pushing, row.model_id)
    assert (told["repo_id"], told["sqlstate"]) == ("tester/later", FORBIDDEN)
    assert "token" not in told

    hub.heal()
    pushed_later = pushing.run("SELECT * FROM pgml.push_to_hub(%s, %s)", row.model_id, "tester/later")[0]
    assert pushed_later == (
        row.model_id,
        "tester/later",
        f"{hub.endpoint}/tester/later",
        commits(hub, "tester/later")[0],
    )
    assert hub_of(pushing, row.model_id)["commit"] == pushed_later[3]

    hub.forget()  # by the project's name, and nothing is there to be sent
    again = pushing.run("SELECT * FROM pgml.push_to_hub('later')")[0]
    assert again == pushed_later
    assert not [one for one in hub.requests if one.method == "PUT" or "/commit/" in one.path]
    branch = pushing.run("SELECT * FROM pgml.push_to_hub('later', revision => 'second', private => false)")[0]
    assert pushed_files(hub, "tester/later", "second").keys() == pushed_files(hub, "tester/later").keys()
    assert branch[1] == "tester/later"


def test_a_push_by_hand_ends_with_its_statement(pushing, hub, pushed):
    hub.disturb(path="/preupload/|/commit/", delay=60, times=None)
    with pushing.connect() as connection, ThreadPoolExecutor(1) as pool:
        running = pool.submit(refusal, connection, "SELECT pgml.push_to_hub('reviews', 'tester/by-hand')")
        wait_until(lambda: [one for one in hub.requests if "by-hand/preupload" in one.path], "the push")
        connection.cancel_safe(timeout=5)
        assert running.result(1).sqlstate == "57014"
    assert hub_of(pushing, pushed.model_id)["repo_id"] == "tester/reviews"
    wait_until(lambda: not list(cache_of(pushing).glob("pushing-*")), "its files to go", 5)
    hub.heal()  # before the next job pushes


@pytest.fixture(scope="module")
def adapter(pushing):
    """The job of an adapter that was pushed with its last checkpoint, while nobody waited."""
    with pushing.connect() as connection:
        training_args = TALK["hyperparams"]["training_args"] | to("tester/talker", "checkpoint", hub_always_push=True)
        hyperparams = TALK["hyperparams"] | {"training_args": training_args}
        job = TALK | {"model_name": "meta-llama/Llama-2-7b-chat-hf", "hyperparams": hyperparams}
        model_id = tune(connection, "talker", wait=False, **job).model_id
    wait_for(pushing, model_id, "successful")
    return wait_until(lambda: hub_of(pushing, model_id), "the push")


def test_a_job_that_nobody_waits_for_pushes_its_adapter_and_last_checkpoint(hub, adapter):
    assert adapter["repo_id"] == "tester/talker"
    files = pushed_files(hub, "tester/talker")
    assert {"adapter_config.json", "adapter_model.safetensors"} <= files.keys()
    assert "last-checkpoint/optimizer.pt" in files
    assert "model.safetensors" not in files
    named = json.loads(files["adapter_config.json"])["base_model_name_or_path"]
    assert named == "meta-llama/Llama-2-7b-chat-hf"


def test_a_push_ends_with_a_cancel_and_the_model_stays(pushing, hub, adapter):
    hub.disturb(path="/preupload/|/commit/", delay=60, times=None)
    with pushing.connect() as connection, ThreadPoolExecutor(1) as pool:
        heard = listen(connection)
        training_args = TALK["hyperparams"]["training_args"] | to("tester/never-there")
        hyperparams = {**TALK["hyperparams"], "training_args": training_args}
        job = TALK | {"model_name": "tester/talker", "hyperparams": hyperparams}  # and it goes on from an adapter
        running = pool.submit(tune, connection, "talked on", **job)
        wait_until(lambda: any("pushing the model" in message.text for message in heard), "the push", 60)
        model_id = pushing.value("SELECT max(id) FROM pgml.models")
        assert pushing.value("SELECT status FROM pgml.jobs WHERE model_id = %s", model_id) == "successful"
        assert pushing.value("SELECT pgml.cancel(%s)", model_id)
        row = running.result(5)
    assert (row.status, row.model_id) == ("successful", model_id)
    assert any(message.severity == "WARNING" and "push" in message.text for message in heard)
    assert "error" in hub_of(pushing, model_id)
    assert pushing.value("SELECT pgml.generate('talked on', 'Hello', '{\"max_tokens\": 3}')") is not None
    wait_until(lambda: not pushing.cluster.python_processes("pgml.runtime.train"), "the trainer to end", 5)
