"""Text from SQL: transform, generate and transform_stream with a tiny model, through every part."""

from __future__ import annotations

import json
import time

import psycopg
import pytest
from psycopg.types.json import Jsonb
from tests.integration.jobs import refusal

CHAT = {"task": "conversational", "model": "llama-chat"}
GREEDY = {"temperature": 0, "max_tokens": 12}
QUESTION = [{"role": "user", "content": "How do I reset my password?"}]
STREAM = "SELECT pgml.transform_stream(task => %s::jsonb, inputs => %s::jsonb[], args => %s::jsonb)"


@pytest.fixture(scope="module")
def connection(shared):
    with shared.connect() as connection:
        yield connection


def chat(connection, messages=QUESTION, task=CHAT, **args):
    query = "SELECT pgml.transform(task => %s, inputs => %s::jsonb[], args => %s)"
    given = [Jsonb(task), [Jsonb(message) for message in messages], Jsonb(GREEDY | args)]
    return connection.execute(query, given).fetchone()[0]


def stream(connection, messages=QUESTION, **args):
    given = [Jsonb(CHAT), [Jsonb(message) for message in messages], Jsonb(GREEDY | args)]
    return [row for (row,) in connection.execute(STREAM, given)]


def test_one_conversation_gives_one_answer(connection):
    (answer,) = chat(connection)
    assert isinstance(answer, str)
    assert answer
    assert QUESTION[0]["content"] not in answer
    assert chat(connection) == [answer]


def test_many_conversations_give_an_answer_each(connection):
    other = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Who works in Paris?"}]
    together = chat(connection, [QUESTION, other])
    assert together == [*chat(connection), *chat(connection, other)]


def test_n_answers(connection):
    answers = chat(connection, n=3, temperature=1.5, seed=7)
    assert len(answers) == 3
    assert len(set(answers)) > 1
    assert chat(connection, n=3, temperature=1.5, seed=7) == answers


def test_details(connection):
    (answer,) = chat(connection, details=True)
    assert answer["text"] == chat(connection)[0]
    assert answer["finish_reason"] in ("stop", "length")
    assert 0 < answer["completion_tokens"] <= 12
    assert answer["prompt_tokens"] > 5


def test_a_choice_is_one_of_the_texts(connection):
    choices = ["strong negative", "strong positive", "neutral"]
    answers = chat(connection, [QUESTION, QUESTION], choices=choices, temperature=2.0)
    assert set(answers) <= set(choices)


def test_text_generation_gives_what_pipelines_give(connection):
    task = {"task": "text-generation", "model": "llama-chat"}
    query = "SELECT pgml.transform(%s, %s, ARRAY['The film', NULL])"
    first, nothing = connection.execute(query, [Jsonb(task), Jsonb(GREEDY)]).fetchone()[0]
    assert first[0]["generated_text"].startswith("The film")
    assert nothing is None


def test_a_stream_is_the_answer_in_pieces(connection):
    rows = stream(connection)
    assert len(rows) > 2
    assert ["".join(row[0] for row in rows)] == chat(connection)


def test_a_stream_of_several_answers(connection):
    other = [{"role": "user", "content": "Who works in Paris?"}]
    rows = stream(connection, [QUESTION, other], details=True)
    texts = ["".join(row[i]["text"] for row in rows if row[i]) for i in range(2)]
    assert texts == chat(connection, [QUESTION, other])
    ends = [[row[i]["finish_reason"] for row in rows if row[i] and row[i]["finish_reason"]] for i in range(2)]
    assert [len(end) for end in ends] == [1, 1]


@pytest.mark.parametrize(
    ("form", "given"),
    [
        ("task => %s::jsonb, input => %s::text", [json.dumps(CHAT), "Hello"]),
        ("task => %s::text, input => %s::text", [json.dumps(CHAT), "Hello"]),
        ("task => %s::text, inputs => %s::jsonb[]", [json.dumps(CHAT), [Jsonb(QUESTION[0])]]),
    ],
)
def test_the_forms_of_a_stream(connection, form, given):
    rows = connection.execute(f"SELECT pgml.transform_stream({form}, args => %s)", [*given, Jsonb(GREEDY)]).fetchall()
    assert rows
    assert all(len(row) == 1 for (row,) in rows)


def test_null_streams_nothing(connection):
    assert connection.execute("SELECT pgml.transform_stream(NULL::jsonb, '{}', 'x')").fetchall() == []


def test_the_first_row_comes_before_the_last_is_computed(connection):
    """A cursor fetches one row of an answer that would take minutes."""
    with connection.transaction():
        connection.execute(
            "DECLARE answer CURSOR FOR SELECT pgml.transform_stream(%s::jsonb, %s, 'Tell me everything')",
            [Jsonb(CHAT), Jsonb({"max_tokens": 400, "temperature": 1, "seed": 3, "n": 8})],
        )
        assert connection.execute("FETCH 1 FROM answer").fetchall()
        # The session's other requests go their own way meanwhile.
        assert chat(connection)
        assert len(connection.execute("FETCH 5 FROM answer").fetchall()) == 5
        connection.execute("CLOSE answer")
    assert chat(connection)


def test_rows_leave_the_server_one_by_one(shared):
    """Not when a buffer of PostgreSQL is full: the first of few small rows comes well before the last."""
    task = {"task": "conversational", "model": "llama-endless"}
    with shared.connect() as connection, connection.cursor() as cursor:
        cursor.execute(STREAM, [Jsonb(task), [Jsonb(QUESTION[0])], Jsonb({"max_tokens": 1})])
        start = time.monotonic()
        rows = cursor.stream(STREAM, [Jsonb(task), [Jsonb(QUESTION[0])], Jsonb({"max_tokens": 200})])
        arrivals = [time.monotonic() - start for _ in rows]
    assert arrivals[0] < arrivals[-1] / 2


def test_psycopg_streams(shared):
    with shared.connect() as connection, connection.cursor() as cursor:
        given = [Jsonb(CHAT), [Jsonb(message) for message in QUESTION], Jsonb(GREEDY)]
        rows = [row for (row,) in cursor.stream(STREAM, given)]
        assert ["".join(row[0] for row in rows)] == chat(connection)


def test_limit_ends_a_stream(connection):
    query = f"{STREAM} LIMIT 2"
    given = [Jsonb(CHAT), [Jsonb(QUESTION[0])], Jsonb({"max_tokens": 400, "seed": 1, "n": 4})]
    assert len(connection.execute(query, given).fetchall()) == 2


@pytest.mark.parametrize(
    ("messages", "args", "words"),
    [
        ([{"content": "x"}], {}, "role"),
        ([{"role": "user"}], {}, "content"),
        ([{"role": "wizard", "content": "x"}], {}, "wizard"),
        ([*QUESTION, {"role": "assistant", "content": "I"}], {}, "assistant"),
        ([[]], {}, "must have a message"),
        (QUESTION, {"max_tokens": 0}, "max_tokens"),
        (QUESTION, {"temprature": 0.1}, "temprature"),
        (QUESTION, {"top_p": 2}, "top_p"),
        (QUESTION, {"chat_template": "{{ messages[0].nothing.at_all }}"}, "template"),
        ([{"role": "user", "content": "word " * 2000}], {}, "512"),
    ],
)
def test_bad_input_is_one_clear_error(connection, messages, args, words):
    query = "SELECT pgml.transform(task => %s, inputs => %s::jsonb[], args => %s)"
    said = refusal(connection, query, Jsonb(CHAT), [Jsonb(message) for message in messages], Jsonb(args))
    assert said.sqlstate == "22023"
    assert words in " ".join([said.message_primary, said.message_detail or "", said.message_hint or ""])
    streamed = refusal(connection, STREAM, Jsonb(CHAT), [Jsonb(message) for message in messages], Jsonb(args))
    assert streamed.message_primary == said.message_primary


def test_a_model_that_does_not_generate(connection):
    said = refusal(connection, STREAM, Jsonb(CHAT | {"model": "bert"}), [Jsonb(QUESTION[0])], Jsonb({}))
    assert '"bert"' in said.message_primary


def test_the_connection_serves_on_after_an_error(connection):
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        stream(connection, top_k=-1)
    assert chat(connection)
