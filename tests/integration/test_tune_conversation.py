"""Tuning of conversations with LoRA from SQL to answer, with a tiny chat model."""

from __future__ import annotations

import json

import pytest
from psycopg.types.json import Jsonb
from tests.cluster import make_database
from tests.integration.jobs import listen, refusal, tune

ROWS = """
CREATE TABLE talks AS
SELECT i AS id, 'Be kind.' AS system, 'What colour is number ' || i || '?' AS question,
       CASE i % 2 WHEN 0 THEN 'It is red.' ELSE 'It is blue.' END AS answer,
       jsonb_build_array(jsonb_build_object('role', 'user', 'content', 'Number ' || i),
                         jsonb_build_object('role', 'assistant', 'content', 'red or blue')) AS messages
FROM generate_series(1, 40) AS i
"""
TRAINING = {"num_train_epochs": 2, "per_device_train_batch_size": 8, "learning_rate": 0.01}
COLUMNS = {"system_column": "system", "user_column": "question", "assistant_column": "answer"}
LORA = {"training_args": TRAINING, "dataset_args": COLUMNS, "lora_config": {"r": 4, "lora_alpha": 8}}
JOB = {"task": "conversation", "relation_name": "talks", "model_name": "llama-chat", "hyperparams": LORA}
ADAPTER_FILES = ["adapter_config.json", "adapter_model.safetensors", "pgml.json"]


@pytest.fixture(scope="module")
def talks(shared):
    shared.run(ROWS)
    return shared


@pytest.fixture(scope="module")
def tuned(talks):
    with talks.connect() as connection:
        heard = listen(connection)
        return tune(connection, "colours", **JOB), heard


def test_the_job_ends_with_metrics(tuned):
    row, _ = tuned
    assert (row.status, row.task, row.deployed) == ("successful", "conversation", True)
    assert row.metrics["loss"] > 0
    assert row.metrics["perplexity"] > 1
    assert row.metrics["trainable_parameters"] < row.metrics["parameters"] / 2


def test_the_adapter_alone_is_stored(talks, tuned):
    files = dict(talks.run("SELECT path, size FROM pgml.files WHERE part = 0 AND model_id = %s", tuned[0].model_id))
    assert sorted(files) == ADAPTER_FILES
    assert sum(files.values()) < 1.1 * files["adapter_model.safetensors"] + 4096


def test_evaluations_log_answers_beside_the_wanted_ones(talks, tuned):
    query = "SELECT logs->'eval_samples' FROM pgml.logs WHERE logs ? 'eval_samples' AND model_id = %s"
    samples = [sample for (row,) in talks.run(query, tuned[0].model_id) for sample in row]
    assert samples
    assert {"prompt", "wanted", "answer"} <= samples[0].keys()
    assert samples[0]["wanted"] in ("It is red.", "It is blue.")


def test_generate_answers_with_the_adapter(talks, tuned):
    call = "SELECT pgml.generate('colours', %s, '{\"temperature\": 0, \"max_tokens\": 8}')"
    one = talks.value(call, "What colour is number 3?")
    assert isinstance(one, str)
    many = talks.value(call.replace("%s", "%s::text[]"), ["What colour is number 3?", None, "Hello"])
    assert many[:2] == [one, None]
    assert talks.value("SELECT pgml.generate('colours', NULL::text)") is None


def test_predict_takes_a_text(talks, tuned):
    assert talks.value("SELECT pgml.predict('colours', 'Hello')") is not None


def test_base_and_adapter_are_loaded_once(talks, tuned):
    test_generate_answers_with_the_adapter(talks, tuned)
    rows = dict(talks.run("SELECT name, base FROM pgml.loaded_models"))
    assert rows[f"pgml:{tuned[0].model_id}"] == "llama-chat"
    assert rows["llama-chat"] is None


def test_a_second_project_needs_no_hyperparams_but_the_columns(talks):
    with talks.connect() as connection:
        hyperparams = {"training_args": {"max_steps": 2}, "dataset_args": {"messages_column": "messages"}}
        row = tune(connection, "whole", **JOB | {"hyperparams": hyperparams})
    assert row.metrics["trainable_parameters"] == row.metrics["parameters"]  # small, so tuned whole
    assert talks.value("SELECT count(*) FROM pgml.files WHERE path = 'model.safetensors'") == 1


def test_a_repeated_job_takes_everything_from_the_last(talks, tuned):
    with talks.connect() as connection:
        again = tune(connection, "colours")
    assert again.status == "successful"
    assert again.metrics["trainable_parameters"] == tuned[0].metrics["trainable_parameters"]


def test_the_limit_decides_between_lora_and_full_tuning(talks):
    with talks.connect() as connection:
        connection.execute("SET pgml.full_tuning_limit = 0")
        hyperparams = {"training_args": {"max_steps": 2}, "dataset_args": COLUMNS}
        row = tune(connection, "by limit", **JOB | {"hyperparams": hyperparams})
        assert row.metrics["trainable_parameters"] < row.metrics["parameters"]
        row = tune(connection, "by wish", **JOB | {"hyperparams": hyperparams | {"lora_config": None}})
        assert row.metrics["trainable_parameters"] == row.metrics["parameters"]


def test_text_generation_with_a_prompt_template(talks):
    template = "### Question:\n{question}\n\n### Answer:\n{answer}{eos_token}"
    hyperparams = {"training_args": {"max_steps": 2}, "prompt_template": template, "lora_config": {"r": 2}}
    with talks.connect() as connection:
        job = JOB | {"task": "text-generation", "hyperparams": hyperparams}
        assert tune(connection, "continued", **job).status == "successful"
        text = connection.execute("SELECT pgml.generate('continued', 'The film', '{\"max_tokens\": 4}')").fetchone()[0]
    assert isinstance(text, str)


def test_lora_for_classification(talks):
    hyperparams = {"training_args": TRAINING, "dataset_args": {"text_column": "question"}, "lora_config": {"r": 4}}
    with talks.connect() as connection:
        row = tune(
            connection,
            "classes",
            **JOB | {"task": "text-classification", "model_name": "bert", "hyperparams": hyperparams},
            y_column_name="answer",
        )
        answer = connection.execute("SELECT pgml.predict('classes', 'What colour is number 3?')").fetchone()[0]
        said = refusal(connection, "SELECT pgml.generate('classes', 'x')")
    assert row.metrics["trainable_parameters"] < row.metrics["parameters"]
    assert answer["label"] in ("It is red.", "It is blue.")
    assert said.sqlstate == "42809"


def test_a_base_that_changed_or_is_gone_is_a_clear_error(own_cluster, model_directory):
    base = model_directory / "llama-moves"
    base.mkdir()
    for path in (model_directory / "llama-chat").iterdir():
        (base / path.name).write_bytes(path.read_bytes())
    database = make_database(own_cluster)
    database.run(ROWS)
    with database.connect() as connection:
        assert tune(connection, "colours", **JOB | {"model_name": "llama-moves"}).status == "successful"
        query = "SELECT pgml.generate('colours', 'Hello')"
        config = json.loads((base / "config.json").read_text())
        (base / "config.json").write_text(json.dumps(config | {"rope_theta": 5000.0}))
        said = refusal(connection, query)
        assert said.sqlstate == "55000"
        assert "llama-moves" in said.message_primary
        assert "changed" in said.message_primary
        for path in base.iterdir():
            path.unlink()
        base.rmdir()
        said = refusal(connection, query)
        assert "llama-moves" in said.message_primary
        assert said.message_hint


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lora_config": {"rank": 4}}, "rank"),
        ({"lora_config": {"target_modules": ["nothing_like_that"]}}, "nothing_like_that"),
        ({"dataset_args": {"messages_column": "messages", "user_column": "question"}}, "messages_column"),
        ({"dataset_args": {"assistant_column": "no_such"}}, "no_such"),
        ({"dataset_args": COLUMNS | {"on_overflow": "explode"}}, "explode"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_trained(talks, change, words):
    query = "SELECT * FROM pgml.tune('bad', 'conversation', 'talks', model_name => 'llama-chat', hyperparams => %s)"
    with talks.connect() as connection:
        said = refusal(connection, query, Jsonb(LORA | change))
    assert words in " ".join([said.message_primary, said.message_detail or "", said.message_hint or ""])
    assert not talks.run("SELECT FROM pgml.projects WHERE name = 'bad'")


def test_a_base_that_is_no_causal_model_is_refused(talks):
    query = "SELECT * FROM pgml.tune('bad', 'conversation', 'talks', model_name => 'bert', hyperparams => %s)"
    with talks.connect() as connection:
        said = refusal(connection, query, Jsonb(LORA))
    assert '"bert"' in said.message_primary


def test_rows_that_are_no_conversations_are_an_error_that_names_the_row(talks):
    talks.run('CREATE TABLE wrong AS SELECT \'{"role": "user"}\'::jsonb AS messages FROM generate_series(1, 8)')
    query = """SELECT * FROM pgml.tune('bad', 'conversation', 'wrong', model_name => 'llama-chat',
                                       hyperparams => '{"dataset_args": {"messages_column": "messages"}}')"""
    with talks.connect() as connection:
        said = refusal(connection, query)
    assert said.sqlstate == "22023"
