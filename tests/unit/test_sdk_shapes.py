"""What a chat sends and what it gives, without a database."""

from __future__ import annotations

import inspect
import uuid

import pytest

from pgml import OpenSourceAI
from pgml.chat import Chunks, completion, make_request

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who are you?"}]


def answer(text, finish_reason=None, prompt_tokens=None, completion_tokens=None):
    return {
        "text": text,
        "finish_reason": finish_reason,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
    }


@pytest.mark.parametrize(
    "method",
    [
        "chat_completions_create",
        "chat_completions_create_async",
        "chat_completions_create_stream",
        "chat_completions_create_stream_async",
    ],
)
def test_the_arguments_are_those_of_the_former_client(method):
    parameters = list(inspect.signature(getattr(OpenSourceAI, method)).parameters.values())
    assert [p.name for p in parameters[1:7]] == "model messages max_tokens temperature n chat_template".split()
    assert [p.default for p in parameters[3:7]] == [None] * 4
    assert inspect.iscoroutinefunction(getattr(OpenSourceAI, method)) == method.endswith("_async")


def test_a_request_with_nothing_said():
    request = make_request("llama", MESSAGES)
    assert request.task == {"task": "conversational", "model": "llama"}
    assert request.args == {"temperature": 0.8, "details": True}
    assert request.inputs == MESSAGES


def test_a_request_with_everything_said():
    options = {
        "top_p": 0.9,
        "top_k": 5,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "stop": ["a"],
        "seed": 7,
        "choices": ["yes", "no"],
        "continue_final_message": True,
    }
    request = make_request("llama", MESSAGES, 9, 0.0, 2, "{{ messages }}", **options)
    plain = {"max_tokens": 9, "temperature": 0.0, "n": 2, "chat_template": "{{ messages }}"}
    assert request.args == plain | options | {"details": True}


def test_a_model_object_goes_into_the_task_and_its_temperature_counts():
    described = {"model": "llama", "token": "x", "load_in_8bit": "true", "temperature": 0.1}
    request = make_request(described, MESSAGES)
    assert request.task == described | {"task": "conversational"}
    assert request.args == {"details": True}
    assert make_request(described, MESSAGES, temperature=0.5).args == {"temperature": 0.5, "details": True}
    assert request.model == "llama"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": {"name": "llama"}}, "`model` is a required key in the model object"),
        ({"model": ""}, "model must be a name"),
        ({"model": {"model": None}}, "model must be a name, not None"),
        ({"messages": []}, "messages must be a list"),
        ({"messages": "Who are you?"}, "messages must be a list"),
        ({"messages": MESSAGES[0]}, "messages must be a list"),
        ({"messages": [MESSAGES[0], {"role": "user"}]}, r"messages\[1\] must be"),
        ({"messages": ["Who are you?"]}, r"messages\[0\] must be"),
        ({"max_tokens": 0}, "max_tokens must be at least 1, not 0"),
        ({"n": -1}, "n must be at least 1, not -1"),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_is_sent(arguments, message):
    given = {"model": "llama", "messages": MESSAGES} | arguments
    client = OpenSourceAI("host=/nonexistent")
    with pytest.raises(ValueError, match=message):
        client.chat_completions_create(**given)
    with pytest.raises(ValueError, match=message):
        client.chat_completions_create_stream(**given)


def test_a_keyword_that_does_not_exist():
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'tools'; there are top_p, top_k"):
        OpenSourceAI("host=/nonexistent").chat_completions_create("llama", MESSAGES, tools=[])


def test_a_completion():
    request = make_request("llama", MESSAGES, n=2)
    made = completion(request, [answer("I am Llama.", "stop", 12, 5), answer("Nobody", "length", 12, 2)])
    assert list(made) == "id object created model system_fingerprint choices usage".split()
    assert made["object"] == "chat.completion"
    assert made["model"] == "llama"
    assert made["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "I am Llama."}, "finish_reason": "stop"},
        {"index": 1, "message": {"role": "assistant", "content": "Nobody"}, "finish_reason": "length"},
    ]
    assert made["usage"] == {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19}
    assert str(uuid.UUID(made["id"])) == made["id"]
    assert completion(request, [])["id"] != made["id"]


def test_the_fingerprint_is_that_of_the_request():
    prints = [make_request("llama", MESSAGES, seed=seed).fingerprint for seed in (1, 1, 2)]
    assert prints[0] == prints[1] != prints[2]
    assert str(uuid.UUID(prints[0])) == prints[0]


def test_the_chunks_of_a_stream():
    chunks = Chunks(make_request("llama", MESSAGES, n=2))
    rows = [
        [answer("I"), None],
        [answer(""), answer("No")],
        [answer(" am", "stop", 12, 2), answer("")],
        [None, answer("", "length", 12, 3)],
    ]
    made = [chunk for chunk in map(chunks.chunk, rows) if chunk]
    assert [[choice["delta"]["content"] for choice in chunk["choices"]] for chunk in made] == [
        ["I", ""],
        ["", "No"],
        [" am", ""],
    ]
    assert all(choice["finish_reason"] is None for chunk in made for choice in chunk["choices"])
    assert all(choice["delta"]["role"] == "assistant" for chunk in made for choice in chunk["choices"])
    assert all("usage" not in chunk for chunk in made)
    last = chunks.last()
    assert last["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "stop"},
        {"index": 1, "delta": {"role": "assistant", "content": ""}, "finish_reason": "length"},
    ]
    assert last["usage"] == {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    assert {chunk["id"] for chunk in [*made, last]} == {chunks.id}
    assert {chunk["object"] for chunk in [*made, last]} == {"chat.completion.chunk"}
