"""The model card: what the Hub reads of it, what people read, and what nobody may."""

from __future__ import annotations

import pytest
from huggingface_hub import ModelCard

from pgml.runtime.hub.card import model_card

FACTS = {
    "project": "Reviews | `of` films",
    "task": "text-classification",
    "model_id": 12,
    "base_model": "sentence-transformers/all-MiniLM-L6-v2",
    "base_revision": None,
    "relation": "public.reviews",
    "train_rows": 570,
    "test_rows": 190,
    "test_sampling": "stratified",
    "test_size": 0.25,
    "seed": 42,
    "digest": "ab" * 32,
    "labels": ["bad", "good"],
    "metrics": {
        "accuracy": 0.91234567,
        "f1": 0.9,
        "loss": None,
        "epoch": 3.0,
        "classes": {"bad": {"support": 91}},
        "confusion_matrix": {"labels": ["bad", "good"], "counts": [[91, 2], [3, 94]]},
    },
    "hyperparams": {"training_args": {"learning_rate": 2e-5, "hub_token": "hf_abcdefghijklmnop"}},
    "lora": False,
    "pgml_version": "0.1.0",
}


def card(**changes):
    return model_card({**FACTS, **changes}, "me/films")


def head(**changes):
    return ModelCard(card(**changes)).data.to_dict()


def test_what_the_hub_reads():
    data = ModelCard(card()).data
    assert (data.base_model, data.base_model_relation) == (FACTS["base_model"], "finetune")
    assert (data.library_name, data.pipeline_tag, data.tags) == ("transformers", "text-classification", ["pgml"])
    assert data.metrics == ["accuracy", "f1"]
    assert [(one.metric_type, one.metric_value, one.dataset_name) for one in data.eval_results] == [
        ("accuracy", 0.91234567, "public.reviews"),
        ("f1", 0.9, "public.reviews"),
    ]


def test_an_adapter_is_of_peft_and_names_its_base():
    assert head(lora=True, task="conversation", labels=None, metrics={"loss": 1.5, "perplexity": 4.48})["tags"] == [
        "pgml",
        "lora",
        "conversational",
    ]
    data = head(lora=True, task="conversation")
    assert (data["library_name"], data["base_model_relation"]) == ("peft", "adapter")
    assert data["pipeline_tag"] == "text-generation"
    text = card(lora=True, task="conversation", labels=None)
    assert 'AutoPeftModelForCausalLM.from_pretrained("me/films")' in text
    assert 'AutoTokenizer.from_pretrained("sentence-transformers/all-MiniLM-L6-v2")' in text
    assert 'ForSequenceClassification.from_pretrained("me/films", num_labels=2)' in card(lora=True)


@pytest.mark.parametrize("base", ["/srv/models/minilm", "minilm", "pgml:12", "a/b/c", None])
def test_a_base_that_is_not_on_the_hub_is_named_in_the_text_only(base):
    assert not {"base_model", "base_model_relation"} & head(base_model=base).keys()
    assert (base or "A model for") in card(base_model=base)


def test_a_base_without_owner_is_one_of_the_hub_if_it_has_a_revision():
    assert head(base_model="bert-base-uncased", base_revision="c" * 40)["base_model"] == "bert-base-uncased"


def test_people_read_how_it_was_made_and_how_to_use_it():
    text = card()
    for line in (
        "# films",
        "| project | `Reviews \\| 'of' films` |",
        "| relation | `public.reviews` |",
        "| rows to train on | 570 |",
        "| test part | stratified, 0.25, seed 42 |",
        f"| sha256 of rows and split | `{FACTS['digest']}` |",
        "| labels | `bad`, `good` |",
        "| accuracy | 0.9123 |",
        'model = pipeline("text-classification", model="me/films")',
        '    "learning_rate": 2e-05,',
    ):
        assert line in text.splitlines(), line
    assert """task => '{"task": "text-classification", "model": "me/films"}'::jsonb, inputs => ARRAY['…']""" in text
    assert "pgml 0.1.0" in text


def test_neither_secrets_nor_counts_of_labels_are_in_it():
    text = card()
    assert "abcdefghijklmnop" not in text
    assert "91" not in text.replace("0.9123", "").replace("0.91234567", "")


def test_many_labels_are_not_all_listed():
    text = card(labels=[f"label {number}" for number in range(1000)])
    assert "`label 99` and 900 more |" in text
    assert "label 100" not in text


def test_what_is_not_known_is_left_out():
    nothing = {"relation": None, "train_rows": None, "test_rows": None, "test_sampling": None, "test_size": None}
    text = card(**nothing, seed=None, digest=None, labels=None, metrics=None, hyperparams=None, base_model=None)
    assert "None" not in text
    assert "## Metrics" not in text
    assert "model-index" not in ModelCard(text).data.to_dict()
