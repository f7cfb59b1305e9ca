"""Predicting with models of the registry: one text, many, pairs, gaps, long texts, many rows; and models gone bad."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from psycopg.types.json import Jsonb
from tests.cluster import wait_until
from tests.integration.jobs import QUICK, REVIEWS, label, refusal, tune, tune_reviews
from tests.integration.stored import store_model

PAIRS = """
CREATE TABLE pairs AS
SELECT CASE i % 2 WHEN 0 THEN 'a wonderful film ' ELSE 'the phone ' END || i AS text1,
       CASE i % 2 WHEN 0 THEN 'a joy to the last minute ' ELSE 'the box was broken ' END || i AS text2,
       CASE i % 2 WHEN 0 THEN 'yes' ELSE 'no' END AS label
FROM generate_series(1, 80) AS i
"""


@pytest.fixture(scope="module")
def stored(shared, model_directory):
    """A database with a stored classifier of three labels, deployed as "moods"."""
    shared.model_id = store_model(shared, "moods", model_directory / "bert-classifier")
    return shared


@pytest.fixture
def connection(stored):
    with stored.connect() as connection:
        yield connection


def memory(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def predict(connection, inputs: list[str | None], project: str = "moods") -> list:
    return connection.execute("SELECT pgml.predict(%s, %s::text[])", [project, inputs]).fetchone()[0]


def test_one_text_gives_one_object(connection):
    result = connection.execute("SELECT pgml.predict('moods', 'a wonderful film')").fetchone()[0]
    assert result.keys() == {"label", "score"}
    assert result["label"] in ("negative", "neutral", "positive")
    assert 0 < result["score"] <= 1


def test_null_in_null_out(connection):
    calls = "pgml.predict('moods', NULL::text), pgml.predict('moods', NULL::text[]), pgml.predict(NULL, 'x')"
    assert connection.execute(f"SELECT {calls}").fetchone() == (None, None, None)


def test_null_elements_and_no_elements(connection):
    results = predict(connection, [None, "a joy", None])
    assert [results[0], results[2]] == [None, None]
    assert results[1] == predict(connection, ["a joy"])[0]
    assert predict(connection, []) == []
    assert predict(connection, [None]) == [None]


def test_any_text_has_an_answer(connection):
    texts = ["", " ", "Füße, naïve, 日本語, 👩‍👩‍👧, \u202e", "'; DROP TABLE x; --", "\t\n", "\x01", "a" * 10_000]
    results = predict(connection, texts)
    assert [result.keys() for result in results] == [{"label", "score"}] * len(texts)


def test_a_text_of_one_megabyte(connection):
    text = "wonderful film " * 70_000
    assert connection.execute("SELECT pgml.predict('moods', %s)->>'label'", [text]).fetchone()[0]
    assert len(predict(connection, [text, "short", text])) == 3


def test_the_order_is_that_of_the_inputs(connection):
    words = random.Random(1)
    texts = [
        " ".join(words.choices(["film", "phone", "box", "joy", "waste"], k=words.randint(1, 60))) for _ in range(150)
    ]
    together = predict(connection, texts)
    one_by_one = [predict(connection, [text])[0] for text in texts]
    assert [result["label"] for result in together] == [result["label"] for result in one_by_one]
    assert [result["score"] for result in together] == pytest.approx(
        [result["score"] for result in one_by_one], abs=1e-5
    )
    assert len({result["score"] for result in together}) > 40


@pytest.mark.private_cluster("looks at the server's processes")
def test_predicting_row_by_row_needs_no_more_memory_for_more_rows(connection):
    query = "SELECT count(pgml.predict('moods', 'film number ' || i)->>'label') FROM generate_series(1, %s) AS i"
    server = "SELECT memory_bytes FROM pgml.runtime_status()"
    backend = connection.info.backend_pid
    connection.execute(query, [200])
    before = memory(backend, "VmHWM"), connection.execute(server).fetchone()[0]
    assert connection.execute(query, [3000]).fetchone() == (3000,)
    assert memory(backend, "VmHWM") - before[0] < 8 << 20
    assert connection.execute(server).fetchone()[0] - before[1] < 32 << 20


@pytest.mark.private_cluster("looks at the server's processes")
def test_sessions_share_one_copy_in_one_process(stored, connection):
    uses = "SELECT uses FROM pgml.loaded_models WHERE name = %s"
    name = f"pgml:{stored.model_id}"
    predict(connection, ["x"])
    ((before,),) = connection.execute(uses, [name]).fetchall()
    assert stored.value("SELECT pgml.predict('moods', 'x')") == predict(connection, ["x"])[0]
    assert connection.execute(uses, [name]).fetchall() == [(before + 2,)]
    assert len(stored.cluster.python_processes("pgml.runtime.serve")) == 1


def test_models_by_project_by_id_and_as_a_transform_are_the_same(stored, connection):
    answers = [
        connection.execute("SELECT pgml.transform(%s::jsonb, inputs => ARRAY['a joy'])", [Jsonb(task)]).fetchone()[0]
        for task in (
            {"model": "moods"},
            {"model": f"pgml:{stored.model_id}"},
            {"model": "moods", "task": "text-classification"},
            {"model": "bert-classifier"},
        )
    ]
    assert answers == [predict(connection, ["a joy"])] * 4


def test_predicting_in_a_view_a_function_and_a_parallel_query(stored, connection):
    connection.execute(REVIEWS)
    connection.execute("CREATE VIEW labelled AS SELECT *, pgml.predict('moods', text)->>'label' AS mood FROM reviews")
    connection.execute("SET force_parallel_mode = on")
    moods = dict(connection.execute("SELECT id, mood FROM labelled WHERE id <= 20").fetchall())
    connection.execute(
        """CREATE FUNCTION mood(text) RETURNS text LANGUAGE plpgsql STABLE AS
           $$ BEGIN RETURN pgml.predict('moods', $1)->>'label'; END $$"""
    )
    assert dict(connection.execute("SELECT id, mood(text) FROM reviews WHERE id <= 20").fetchall()) == moods
    assert len(moods) == 20


def test_a_new_deployment_answers_at_once_also_in_a_session_that_has_predicted(stored, connection, model_directory):
    other = store_model(stored, "other moods", model_directory / "bert-nli")
    assert predict(connection, ["x"], "other moods")[0]["label"] in ("contradiction", "entailment", "neutral")
    project = "SELECT project_id FROM pgml.models WHERE id = %s"
    connection.execute(f"UPDATE pgml.models SET project_id = ({project}) WHERE id = %s", [stored.model_id, other])
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT pgml.deploy(%s)", [other])
        own = connection.execute("SELECT pgml.predict('moods', 'x')").fetchone()[0]
        assert own["label"] in ("contradiction", "entailment", "neutral")
        assert label(stored, "moods", "x") in ("negative", "neutral", "positive")
    assert predict(connection, ["x"])[0] == stored.value("SELECT pgml.predict('moods', 'x')")


def test_a_part_that_was_changed_is_found_out(stored, model_directory):
    model_id = store_model(stored, "damaged", model_directory / "bert-classifier", {"own.txt": b"its own digest"})
    stored.run("UPDATE pgml.files SET data = set_byte(data, 9, 0) WHERE model_id = %s AND path = 'own.txt'", model_id)
    with stored.connect() as connection:
        for _ in range(2):
            said = refusal(connection, "SELECT pgml.predict('damaged', 'x')")
            assert said.sqlstate == "XX001"
            assert "own.txt" in said.message_primary
        stored.run("UPDATE pgml.files SET data = 'its own digest' WHERE model_id = %s AND path = 'own.txt'", model_id)
        assert predict(connection, ["x"], "damaged")[0]["label"]


def test_a_part_that_is_missing_is_found_out(stored, model_directory):
    model_id = store_model(stored, "gone", model_directory / "bert-classifier", {"own.txt": b"another digest"})
    stored.run("DELETE FROM pgml.files WHERE model_id = %s AND path = 'model.safetensors' AND part = 1", model_id)
    with stored.connect() as connection:
        assert refusal(connection, "SELECT pgml.predict('gone', 'x')").sqlstate == "XX001"
        stored.run("DELETE FROM pgml.files WHERE model_id = %s", model_id)
        assert refusal(connection, "SELECT pgml.predict('gone', 'x')").sqlstate == "XX001"
        assert predict(connection, ["x"])[0]["label"]


def test_a_deleted_project_and_a_dropped_extension_take_everything_with_them(database, model_directory):
    store_model(database, "moods", model_directory / "bert-classifier")
    with database.connect() as connection:
        assert predict(connection, ["x"])[0]["label"]
        connection.execute("DELETE FROM pgml.projects")
        for table in ("models", "files", "deployments", "logs"):
            assert connection.execute(f"SELECT count(*) FROM pgml.{table}").fetchone() == (0,)
        assert refusal(connection, "SELECT pgml.predict('moods', 'x')").sqlstate == "42704"
        connection.execute("DROP EXTENSION pgml CASCADE; CREATE EXTENSION pgml")
        assert connection.execute("SELECT count(*) FROM pgml.projects").fetchone() == (0,)


def test_pairs_from_tune_to_predict(stored):
    stored.run(PAIRS)
    with stored.connect() as connection:
        tuned = tune(
            connection,
            "pairs",
            task="text-pair-classification",
            relation_name="pairs",
            model_name="bert",
            hyperparams=QUICK,
        )
        assert (tuned.status, tuned.task) == ("successful", "text_pair_classification")
        same = Jsonb({"text": "a wonderful film", "text_pair": "a joy to the last minute"})
        other = Jsonb({"text1": "the phone", "text2": "the box was broken"})
        array = Jsonb(["a wonderful film", "a joy to the last minute"])
        query = 'SELECT pgml.transform(\'{"model": "pairs"}\'::jsonb, inputs => %s::jsonb[])'
        results = connection.execute(query, [[same, other, None, array]]).fetchone()[0]
        assert [result and result["label"] for result in results] == ["yes", "no", None, "yes"]
        predicted = (
            "SELECT pgml.predict('pairs', jsonb_build_object('text', text1, 'text_pair', text2)::text) FROM pairs"
        )
        labels = [row[0]["label"] for row in connection.execute(predicted + " ORDER BY text1 DESC LIMIT 3").fetchall()]
        assert labels == ["no"] * 3
        assert refusal(connection, "SELECT pgml.predict('pairs', 'one text alone')").sqlstate == "22023"


def test_a_decoder_without_padding_token_classifies(stored):
    with stored.connect() as connection:
        connection.execute(REVIEWS.replace("TABLE", "TEMPORARY TABLE"))
        arguments = {"num_train_epochs": 6, "learning_rate": 0.005, "eval_strategy": "no"}
        tuned = tune_reviews(connection, "decoder", model_name="llama", hyperparams={"training_args": arguments})
        assert tuned.metrics["accuracy"] == 1
        results = predict(connection, ["wonderful film, a joy 90", "terrible waste, no sense 91"], "decoder")
        assert [result["label"] for result in results] == ["good", "bad"]


def test_transform_runs_where_models_are_deployed_in_another_database(stored, database, model_directory):
    """Ids of models are per database, and the server process is shared."""
    model_id = store_model(database, "moods", model_directory / "bert-nli")
    assert label(database, "moods", "x") in ("contradiction", "entailment", "neutral")
    assert wait_until(lambda: label(stored, "moods", "x") in ("negative", "neutral", "positive"), "the other label")
    assert database.run("SELECT name FROM pgml.loaded_models WHERE digest IS NOT NULL") == [(f"pgml:{model_id}",)]
