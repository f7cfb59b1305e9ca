"""The way of PostgresML's guide to fine-tuning, from a data set of the Hub to a chat with a pushed adapter.

The tests follow one another, as a reader follows a guide. The Hub is their own: models there get new versions.
"""

from __future__ import annotations

import json
import shutil

import pytest
from tests.hub.running import running_hub
from tests.integration.hub_database import connected_to, pushed_files
from tests.integration.jobs import listen, tune
from tests.integration.sdk import url_of

import pgml

pytestmark = pytest.mark.private_cluster("the server would have to reach a Hub of the test's own")
BASE = "distilbert-base-uncased"
CLASSIFIER = "santiadavani/imdb_review_sentiement"
CHAT_BASE = "meta-llama/Llama-2-7b-chat-hf"
CHAT = "santiadavani/fingpt-llama2-7b-chat"
NEWS = 'pgml."FinGPT/fingpt-sentiment-train"'
TRAINING = {
    "learning_rate": 2e-5,
    "per_device_train_batch_size": 16,
    "per_device_eval_batch_size": 16,
    "num_train_epochs": 1,
    "max_steps": 4,  # for the tests' sake
    "weight_decay": 0.01,
    "hub_token": "YOUR_HUB_TOKEN",
    "push_to_hub": True,
}
SPLIT = {"test_size": 0.2, "test_sampling": "last"}
CLASSIFY = f"""
SELECT pgml.transform(
    task => '{{"task": "text-classification", "model": "{CLASSIFIER}"}}'::jsonb, inputs => ARRAY[text])
"""


@pytest.fixture(scope="module")
def own_hub(hub_with_stand_ins, tmp_path_factory):
    directory = shutil.copytree(hub_with_stand_ins, tmp_path_factory.mktemp("guide") / "hub")
    with running_hub(directory) as hub:
        yield hub


@pytest.fixture(scope="module")
def guide(own_hub, cluster):
    with connected_to(own_hub, cluster) as database:
        yield database


def shuffled_in_two(database, relation, shuffled, train, test, columns="*", rows="true"):
    """A view that shuffles, and two that take their shares of it."""
    database.run(f"CREATE VIEW {shuffled} AS SELECT {columns} FROM {relation} WHERE {rows} ORDER BY random()")
    share = f"(SELECT count(*) * 0.8 FROM {shuffled})"
    database.run(f"CREATE VIEW {train} AS SELECT * FROM {shuffled} LIMIT {share}")
    database.run(f"CREATE VIEW {test} AS SELECT * FROM {shuffled} OFFSET {share}")


def tune_and_listen(database, project, **arguments):
    with database.connect() as connection:
        heard = listen(connection)
        return tune(connection, project, **SPLIT | arguments), [message.text for message in heard]


@pytest.fixture(scope="module")
def reviews(guide):
    rows = guide.run("SELECT * FROM pgml.load_dataset('imdb')")
    classes = "label, CASE label WHEN 0 THEN 'negative' WHEN 1 THEN 'positive' ELSE 'neutral' END AS class, text"
    names = "pgml.reviews_mixed", "pgml.reviews_to_learn", "pgml.reviews_to_test"
    shuffled_in_two(guide, "pgml.imdb", *names, classes, "label != -1")
    return rows


def test_reviews_are_loaded(guide, reviews):
    assert reviews == [("pgml.imdb", 1000)]  # all splits
    counts = "SELECT class, count(*) AS label_count FROM pgml.reviews_mixed GROUP BY class ORDER BY class"
    assert guide.run(counts) == [("negative", 300), ("positive", 300)]
    some = guide.run("SELECT left(text, 100) AS text, class FROM pgml.reviews_mixed LIMIT 5")
    assert len(some) == 5
    assert all(0 < len(text) <= 100 and name in ("negative", "positive") for text, name in some)
    shares = [guide.value(f"SELECT count(*) FROM pgml.reviews_to_{what}") for what in ("learn", "test")]
    assert shares == [480, 120]


@pytest.fixture(scope="module")
def review_job(guide, reviews):
    return {
        "task": "text-classification",
        "relation_name": "pgml.reviews_to_learn",
        "hyperparams": {
            "training_args": TRAINING,
            "dataset_args": {"text_column": "text", "class_column": "class"},
        },
    }


def test_a_classifier_is_tuned_and_pushed(guide, own_hub, review_job):
    row, heard = tune_and_listen(guide, "imdb_review_sentiment", model_name=BASE, **review_job)
    assert (row.status, row.deployed) == ("successful", True)
    assert any("volatile" in text for text in heard)  # the trap of views that shuffle
    hub = guide.value("SELECT hub FROM pgml.models WHERE id = %s", row.model_id)
    assert (hub["repo_id"], hub["private"]) == ("santiadavani/imdb_review_sentiment", True)
    files = pushed_files(own_hub, hub["repo_id"])
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= files.keys()
    stored = guide.value(
        "SELECT string_agg(data, '' ORDER BY part) FROM pgml.files WHERE model_id = %s AND path = 'config.json'",
        row.model_id,
    )
    assert json.loads(files["config.json"]) == json.loads(stored)

    losses = """SELECT logs->>'epoch' AS epoch, logs->>'step' AS step, logs->>'loss' AS loss FROM pgml.logs
                WHERE model_id = %s AND jsonb_exists(logs, 'loss')"""
    assert guide.run(losses, row.model_id)
    assert guide.run(losses, 993) == []


def test_a_tuned_model_of_the_hub_classifies(guide):
    texts = ["Only for fans of her; I give it nothing.", "So many jokes, and every one of them good!"]
    answer = guide.value(CLASSIFY.replace("ARRAY[text]", "%s::text[]"), texts)
    assert [result["label"] in ("negative", "positive") for result in answer] == [True, True]
    rows = guide.run(
        f"""SELECT left(text, 100) AS truncated_text, class, predicted_class[0]->>'label' AS predicted_class,
                   (predicted_class[0]->>'score')::float AS score
            FROM (SELECT left(text, 100) AS text, class, ({CLASSIFY}) AS predicted_class
                  FROM pgml.reviews_to_test LIMIT 2) AS subquery"""
    )
    assert len(rows) == 2
    assert all(predicted in ("negative", "positive") and 0 <= score <= 1 for _, _, predicted, score in rows)


def test_a_classifier_of_the_hub_is_tuned_on_and_pushed_to_where_it_was(guide, own_hub, review_job):
    before = pushed_files(own_hub, CLASSIFIER)["model.safetensors"]
    row, _ = tune_and_listen(guide, "imdb_review_sentiement", model_name=CLASSIFIER, **review_job)
    assert row.status == "successful"
    assert guide.value("SELECT hub->>'repo_id' FROM pgml.models WHERE id = %s", row.model_id) == CLASSIFIER
    assert pushed_files(own_hub, CLASSIFIER)["model.safetensors"] != before


@pytest.fixture(scope="module")
def news(guide):
    rows = guide.run("SELECT * FROM pgml.load_dataset('FinGPT/fingpt-sentiment-train')")
    shuffled_in_two(guide, NEWS, "pgml.news_mixed", "pgml.news_to_learn", "pgml.news_to_test")
    return rows


def test_news_are_loaded(guide, news):
    assert news == [(NEWS, 600)]
    counts = guide.run("SELECT output, count(*) AS class_count FROM pgml.news_mixed GROUP BY output ORDER BY output")
    assert (len(counts), sum(count for _, count in counts)) == (9, 600)
    assert guide.value("SELECT count(*) FROM pgml.news_to_test") == 120


def test_nine_classes_are_learned_and_pushed_privately(guide, own_hub, news):
    hyperparams = {
        "training_args": TRAINING | {"hub_private_repo": True},
        "dataset_args": {"text_column": "input", "class_column": "output"},
    }
    row, _ = tune_and_listen(
        guide,
        "fingpt_sentiement",
        task="text-classification",
        relation_name="pgml.news_to_learn",
        model_name=BASE,
        hyperparams=hyperparams,
    )
    assert len(row.metrics["classes"]) == 9
    hub = guide.value("SELECT hub FROM pgml.models WHERE id = %s", row.model_id)
    assert (hub["repo_id"], hub["private"]) == ("santiadavani/fingpt_sentiement", True)
    assert len(json.loads(pushed_files(own_hub, hub["repo_id"])["config.json"])["id2label"]) == 9


def test_a_conversation_is_learned_with_lora_and_the_adapter_is_pushed(guide, own_hub, news):
    hyperparams = {
        "training_args": TRAINING
        | {
            "per_device_train_batch_size": 4,
            "per_device_eval_batch_size": 4,
            "hub_token": "HF_TOKEN",
            "optim": "adamw_bnb_8bit",
            "gradient_accumulation_steps": 4,
            "gradient_checkpointing": True,
        },
        "dataset_args": {"system_column": "instruction", "user_column": "input", "assistant_column": "output"},
        "lora_config": {"r": 2, "lora_alpha": 4, "lora_dropout": 0.05, "bias": "none", "task_type": "CAUSAL_LM"},
        "load_in_8bit": False,
        "token": "HF_TOKEN",
    }
    row, _ = tune_and_listen(
        guide,
        "fingpt-llama2-7b-chat",
        task="conversation",
        relation_name="pgml.news_to_learn",
        model_name=CHAT_BASE,
        hyperparams=hyperparams,
        test_size=0.8,
    )
    assert (row.status, row.deployed) == ("successful", True)
    hub, said = guide.run("SELECT hub, hyperparams::text FROM pgml.models WHERE id = %s", row.model_id)[0]
    assert hub["repo_id"] == CHAT
    assert "HF_TOKEN" not in said
    files = pushed_files(own_hub, CHAT)
    assert "model.safetensors" not in files
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == CHAT_BASE


def test_the_client_chats_with_the_pushed_adapter(guide):
    model = {
        "model": CHAT,
        "token": "TOKEN",
        "load_in_8bit": "true",
        "temperature": 0.1,
        "repetition_penalty": 1.5,
    }
    question = "What is the sentiment of this news? Please choose an answer from {negative/neutral/positive}."
    messages = [
        {"role": "system", "content": question},
        {"role": "user", "content": "The shops say that rules were broken; the staff had never heard of the rules."},
    ]
    with pgml.OpenSourceAI(url_of(guide)) as client:
        results = client.chat_completions_create(model, messages, max_tokens=20)
    (choice,) = results["choices"]
    assert choice["message"]["role"] == "assistant"
    assert isinstance(choice["message"]["content"], str)
    assert (results["object"], results["model"]) == ("chat.completion", CHAT)
