"""Plain models of a directory: the four forms of transform, the shapes of each task, where a model may lie."""

from __future__ import annotations

import shutil

import pytest
from psycopg.types.json import Jsonb
from tests.integration.jobs import refusal

TEXT = "Maria lives in Berlin and works for a small company in Paris."
LABELS = {"negative", "neutral", "positive"}


@pytest.fixture
def connection(shared):
    with shared.connect() as connection:
        yield connection


def transform(connection, task: dict, inputs: list, args: dict | None = None) -> list:
    kind = "jsonb[]" if any(isinstance(value, Jsonb) for value in inputs) else "text[]"
    query = f"SELECT pgml.transform(task => %s::jsonb, args => %s::jsonb, inputs => %s::{kind})"
    return connection.execute(query, [Jsonb(task), Jsonb(args or {}), inputs]).fetchone()[0]


@pytest.mark.parametrize(
    "call",
    [
        """pgml.transform('{"task": "text-classification", "model": "bert-classifier"}'::jsonb,
                          inputs => ARRAY['x', 'y'])""",
        # An untyped literal is the text form, which PostgreSQL prefers.
        """pgml.transform('{"task": "text-classification", "model": "bert-classifier"}', inputs => ARRAY['x', 'y'])""",
        """pgml.transform(task => '{"task": "text-classification", "model": "bert-classifier"}', args => '{}',
                          inputs => ARRAY['x', 'y'], cache => true)""",
        """pgml.transform('{"task": "text-classification", "model": "bert-classifier"}'::jsonb,
                          inputs => ARRAY['"x"', '"y"']::jsonb[])""",
        """pgml.transform('{"task": "text-classification", "model": "bert-classifier"}',
                          inputs => ARRAY['{"text": "x"}', '{"text": "y"}']::jsonb[])""",
        """pgml.transform('{"task": "text_classification", "model": "bert-classifier"}'::text, '{}'::jsonb,
                          ARRAY['x', 'y'], false)""",
    ],
)
def test_the_forms_give_the_same(connection, call):
    expected = transform(connection, {"task": "text-classification", "model": "bert-classifier"}, ["x", "y"])
    assert len(expected) == 2
    assert expected[0].keys() == {"label", "score"}
    assert connection.execute(f"SELECT {call}").fetchone()[0] == expected


def test_nothing_in_nothing_out(connection):
    task = '{"task": "text-classification", "model": "bert-classifier"}'
    for inputs in ("ARRAY[]::text[]", "'{}'::jsonb[]"):
        assert connection.execute(f"SELECT pgml.transform('{task}'::jsonb, inputs => {inputs})").fetchone() == ([],)
    for call in (
        f"pgml.transform('{task}'::jsonb, inputs => NULL::text[])",
        "pgml.transform(NULL::jsonb, inputs => ARRAY['x'])",
        "pgml.transform(NULL::text, inputs => ARRAY['{}'::jsonb])",
    ):
        assert connection.execute(f"SELECT {call}").fetchone() == (None,)


def test_null_elements_keep_their_place(connection):
    results = transform(connection, {"model": "bert-classifier"}, [None, "x", None])
    assert (results[0], results[2]) == (None, None)
    assert results[1]["label"] in LABELS


def test_text_classification_with_top_k(connection):
    task = {"task": "text-classification", "model": "bert-classifier"}
    (two,) = transform(connection, task, ["x"], {"top_k": 2})
    assert [result["score"] for result in two] == sorted((result["score"] for result in two), reverse=True)
    assert len(two) == 2
    (everything,) = transform(connection, task, ["x"], {"top_k": None})
    assert {result["label"] for result in everything} == LABELS
    assert sum(result["score"] for result in everything) == pytest.approx(1, abs=1e-4)
    assert transform(connection, task, ["x"])[0] == everything[0]


def test_token_classification(connection):
    task = {"task": "token-classification", "model": "bert-tokens"}
    (entities,) = transform(connection, task, [TEXT], {"ignore_labels": []})
    assert entities
    for entity in entities:
        assert entity.keys() >= {"entity", "score", "word", "start", "end", "index"}
        assert TEXT[entity["start"] : entity["end"]].lower() == entity["word"].removeprefix("##")
    (groups,) = transform(connection, task, [TEXT], {"aggregation_strategy": "simple", "ignore_labels": []})
    assert {"entity_group", "score", "word", "start", "end"} <= groups[0].keys()


def test_fill_mask(connection):
    (answers,) = transform(
        connection, {"task": "fill-mask", "model": "bert-masked"}, ["The film was [MASK]."], {"top_k": 3}
    )
    assert len(answers) == 3
    for answer in answers:
        assert answer.keys() >= {"score", "token", "token_str", "sequence"}
        # A random model may choose a special token, which the sequence leaves out.
        word = answer["token_str"].removeprefix("##")
        assert word in answer["sequence"] or word in {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    said = refusal(
        connection, """SELECT pgml.transform('{"model": "bert-masked"}'::jsonb, inputs => ARRAY['no gap'])"""
    )
    assert said.sqlstate == "22023"


def test_zero_shot_classification(connection):
    task = {"task": "zero-shot-classification", "model": "bert-nli"}
    labels = ["politics", "sports", "science"]
    results = transform(connection, task, [TEXT, "goal"], {"candidate_labels": labels})
    assert len(results) == 2
    for text, result in zip([TEXT, "goal"], results, strict=True):
        assert result["sequence"] == text
        assert sorted(result["labels"]) == sorted(labels)
        assert result["scores"] == sorted(result["scores"], reverse=True)
        assert sum(result["scores"]) == pytest.approx(1, abs=1e-4)


def test_feature_extraction(connection):
    (features,) = transform(connection, {"task": "feature-extraction", "model": "bert"}, ["two words"])
    (tokens,) = features
    assert len(tokens) >= 4  # also [CLS] and [SEP]
    assert {len(vector) for vector in tokens} == {32}


def test_text_generation(connection):
    task = {"task": "text-generation", "model": "llama"}
    args = {"max_new_tokens": 5, "do_sample": False}
    results = transform(connection, task, ["The quick", "Our new"], args)
    assert [len(result) for result in results] == [1, 1]
    assert results[0][0]["generated_text"].startswith("The quick")
    assert len(results[0][0]["generated_text"]) > len("The quick")
    assert results == transform(connection, task, ["The quick", "Our new"], args)
    (only_new,) = transform(connection, task, ["The quick"], args | {"return_full_text": False})
    assert "The quick" + only_new[0]["generated_text"] == results[0][0]["generated_text"]


def test_question_answering(connection):
    question = {"question": "Where does Maria live?", "context": TEXT}
    task = {"task": "question-answering", "model": "bert-qa"}
    (answer,) = transform(connection, task, [Jsonb(question)])
    assert answer.keys() == {"score", "start", "end", "answer"}
    assert TEXT[answer["start"] : answer["end"]] == answer["answer"]
    as_text = "SELECT pgml.transform(%s::jsonb, inputs => ARRAY[%s::jsonb::text])"
    assert connection.execute(as_text, [Jsonb(task), Jsonb(question)]).fetchone()[0] == [answer]


def test_summarization(connection):
    (summary,) = transform(connection, {"task": "summarization", "model": "t5"}, [TEXT], {"max_new_tokens": 5})
    assert summary.keys() == {"summary_text"}
    assert isinstance(summary["summary_text"], str)


@pytest.mark.parametrize("task", ["translation_en_to_fr", "translation"])
def test_translation(connection, task):
    (translated,) = transform(connection, {"task": task, "model": "t5"}, [TEXT], {"max_new_tokens": 5})
    assert translated.keys() == {"translation_text"}


def test_the_task_is_told_by_the_model(connection):
    assert transform(connection, {"model": "bert-classifier"}, ["x"])[0]["label"] in LABELS
    said = refusal(connection, """SELECT pgml.transform('{"model": "t5"}'::jsonb, inputs => ARRAY['x'])""")
    assert said.sqlstate == "22023"
    assert "task" in said.message_primary


def test_a_model_by_name_and_by_path_is_one(connection, model_directory):
    by_name = transform(connection, {"model": "bert-classifier"}, ["x"])
    loaded = len(connection.execute("SELECT * FROM pgml.loaded_models").fetchall())
    assert transform(connection, {"model": str(model_directory / "bert-classifier")}, ["x"]) == by_name
    assert len(connection.execute("SELECT * FROM pgml.loaded_models").fetchall()) == loaded


@pytest.fixture(scope="module")
def outside(model_directory):
    """A good model beside the allowed directory, and a link to it from within."""
    copy = model_directory.with_name(f"{model_directory.name}-outside")
    shutil.copytree(model_directory / "bert-classifier", copy)
    (model_directory / "link").symlink_to(copy)
    yield copy
    (model_directory / "link").unlink()
    shutil.rmtree(copy)


@pytest.mark.parametrize(
    "path",
    [
        "/etc",
        "/nowhere/at/all",
        "{home}/../{name}-outside",
        "{home}/bert-classifier/../../{name}-outside",
        "../{name}-outside",
        "bert-classifier/../../{name}-outside",
        "link",
        "{home}/link",
        "{home}",
        ".",
    ],
)
def test_a_model_outside_the_allowed_directories_is_refused(connection, model_directory, outside, path):
    name = path.format(home=model_directory, name=model_directory.name)
    said = refusal(connection, "SELECT pgml.transform(%s::jsonb, inputs => ARRAY['x'])", Jsonb({"model": name}))
    assert said.sqlstate in ("42501", "42704")
    assert said.message_hint


def test_what_lies_outside_is_not_told(connection):
    query = "SELECT pgml.transform(%s::jsonb, inputs => ARRAY['x'])"
    there, not_there = (refusal(connection, query, Jsonb({"model": path})) for path in ("/etc", "/etx"))
    assert there.message_primary.replace("/etc", "/etx") == not_there.message_primary
    assert (there.sqlstate, there.message_detail) == (not_there.sqlstate, not_there.message_detail)


def test_a_superuser_may_change_the_directories_for_a_session(connection, model_directory):
    connection.execute(f"SET pgml.model_directories = '/nowhere, {model_directory}/bert'")
    said = refusal(connection, """SELECT pgml.transform('{"model": "bert-classifier"}'::jsonb, inputs => ARRAY['x'])""")
    assert said.sqlstate == "42704"
    assert "/nowhere" in said.message_detail
    connection.execute("SET pgml.model_directories = ''")
    said = refusal(connection, """SELECT pgml.transform('{"model": "bert-classifier"}'::jsonb, inputs => ARRAY['x'])""")
    assert "names no directory" in said.message_detail
    connection.execute("RESET pgml.model_directories")
    assert transform(connection, {"model": "bert-classifier"}, ["x"])


def test_loaded_models_say_what_is_in_memory(connection):
    transform(connection, {"model": "bert-classifier"}, ["x"])
    query = """SELECT task, bytes, device, uses, loaded_at <= last_used_at, last_used_at > now() - interval '1 minute',
                      digest
               FROM pgml.loaded_models WHERE name = 'bert-classifier' AND task = 'text-classification'"""
    ((task, size, device, uses, order, recent, digest),) = connection.execute(query).fetchall()
    assert (task, order, recent, digest) == ("text-classification", True, True, None)
    assert size > 50_000
    assert device == "cpu" or device.startswith("cuda")
    transform(connection, {"model": "bert-classifier"}, ["x"])
    assert connection.execute(query).fetchall()[0][3] == uses + 1


@pytest.mark.parametrize("path", ["..", "../no/such"])
def test_a_path_that_leads_out_says_nothing_of_what_is_there(connection, model_directory, path):
    task = Jsonb({"task": "text-classification", "model": f"{model_directory}/{path}"})
    said = refusal(connection, "SELECT pgml.transform(%s::jsonb, inputs => ARRAY['x'])", task)
    assert said.sqlstate == "42501"
    assert "is not below one of the allowed directories" in said.message_primary


def test_a_request_that_is_too_large_is_told_as_such(connection):
    task = Jsonb({"task": "text-classification", "model": "bert-classifier"})
    args = "jsonb_build_object('top_k', repeat('1', 20000000))"
    said = refusal(connection, f"SELECT pgml.transform(%s::jsonb, args => {args}, inputs => ARRAY['x'])", task)
    assert said.sqlstate == "22023"
    assert "ended" not in said.message_primary
