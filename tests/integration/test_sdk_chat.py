"""Chats through the Python client: the four methods, threads and event loops, what is cancelled and what is closed."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from tests.cluster import wait_until
from tests.integration.sdk import (
    ENDLESS,
    GREEDY,
    MESSAGES,
    MODEL,
    TALKER,
    connected,
    running,
    url_of,
    wait_until_idle,
)

import pgml


@pytest.fixture
def client(shared):
    with pgml.OpenSourceAI(url_of(shared)) as client:
        yield client


@pytest.fixture
def narrow(shared):
    """A client with a single connection: if that is not given back, the next call waits for ever."""
    with pgml.OpenSourceAI(url_of(shared), max_connections=1) as client:
        yield client


@pytest.fixture
def answer(client):
    return client.chat_completions_create(MODEL, MESSAGES, **GREEDY)


def texts(completion) -> list[str]:
    return [choice["message"]["content"] for choice in completion["choices"]]


def joined(chunks) -> list[str]:
    """The text of each answer of a stream."""
    return ["".join(deltas) for deltas in zip(*map(deltas_of, chunks), strict=True)]


def deltas_of(chunk) -> list[str]:
    return [choice["delta"]["content"] for choice in chunk["choices"]]


def test_an_answer(answer):
    (choice,) = answer["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] in ("stop", "length")
    assert answer["model"] == MODEL
    assert answer["object"] == "chat.completion"


def test_the_usage_is_true(client, shared, answer):
    details = shared.value(
        """SELECT pgml.transform('{"task": "conversation", "model": "llama-chat"}'::jsonb,
               '{"max_tokens": 12, "temperature": 0, "details": true}', inputs => %s::jsonb[])""",
        [psycopg.types.json.Jsonb(message) for message in MESSAGES],
    )[0]
    usage = answer["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (
        details["prompt_tokens"],
        details["completion_tokens"],
    )
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    longer = client.chat_completions_create(MODEL, [*MESSAGES[:1], {"role": "user", "content": "Who? " * 9}], **GREEDY)
    assert longer["usage"]["prompt_tokens"] > usage["prompt_tokens"] > 10
    assert 1 <= usage["completion_tokens"] <= 12


def test_all_methods_answer_alike(client, answer):
    chunks = list(client.chat_completions_create_stream(MODEL, MESSAGES, **GREEDY))

    async def asynchronously():
        whole = await client.chat_completions_create_async(MODEL, MESSAGES, **GREEDY)
        stream = await client.chat_completions_create_stream_async(MODEL, MESSAGES, **GREEDY)
        return whole, [chunk async for chunk in stream]

    whole, async_chunks = asyncio.run(asynchronously())
    assert texts(whole) == joined(chunks) == joined(async_chunks) == texts(answer)
    assert len(chunks) > 2
    for last in (chunks[-1], async_chunks[-1]):
        assert last["usage"] == whole["usage"] == answer["usage"]
        assert last["choices"][0]["finish_reason"] == answer["choices"][0]["finish_reason"]


def test_several_answers(client):
    options = {"max_tokens": 8, "temperature": 1.0, "n": 3, "seed": 5}
    completion = client.chat_completions_create(MODEL, MESSAGES, **options)
    assert [choice["index"] for choice in completion["choices"]] == [0, 1, 2]
    assert len(set(texts(completion))) > 1
    assert joined(client.chat_completions_create_stream(MODEL, MESSAGES, **options)) == texts(completion)
    assert texts(client.chat_completions_create(MODEL, MESSAGES, **options)) == texts(completion)


def test_a_choice_among_texts(client):
    completion = client.chat_completions_create(MODEL, MESSAGES, choices=["positive", "negative"])
    assert texts(completion)[0] in ("positive", "negative")


def test_a_model_object_of_the_former_guide(client):
    described = {"model": MODEL, "token": "x", "load_in_8bit": "true", "temperature": 0.1, "repetition_penalty": 1.5}
    assert texts(client.chat_completions_create(described, MESSAGES, max_tokens=4))


def test_the_first_chunk_comes_before_the_last_token_is_made(client, shared):
    stream = client.chat_completions_create_stream(TALKER, MESSAGES, **ENDLESS)
    next(stream)
    assert running(shared) == 1
    stream.close()


def test_closing_a_stream_stops_the_server_and_keeps_the_connection(narrow, shared):
    stream = narrow.chat_completions_create_stream(TALKER, MESSAGES, **ENDLESS)
    next(stream)
    before = connected(shared)
    stream.close()
    wait_until_idle(shared, 1)
    assert texts(narrow.chat_completions_create(MODEL, MESSAGES, **GREEDY))
    assert connected(shared) == before


def test_a_forgotten_stream_stops_too(narrow, shared):
    for _ in narrow.chat_completions_create_stream(TALKER, MESSAGES, **ENDLESS):
        break
    gc.collect()
    wait_until_idle(shared, 1)


def test_cancelling_a_task_cancels_the_statement(narrow, shared):
    async def cancel_once_it_runs(coroutine):
        task = asyncio.create_task(coroutine)
        await asyncio.to_thread(wait_until, lambda: running(shared), "the statement to run")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(wait_until_idle, shared, 1)

    async def read():
        async for _ in await narrow.chat_completions_create_stream_async(TALKER, MESSAGES, **ENDLESS):
            pass

    async def both():
        await cancel_once_it_runs(narrow.chat_completions_create_async(TALKER, MESSAGES, **ENDLESS))
        await cancel_once_it_runs(read())
        return await narrow.chat_completions_create_async(MODEL, MESSAGES, **GREEDY)

    assert texts(asyncio.run(both()))


def test_leaving_an_asynchronous_stream_stops_the_server(narrow, shared):
    async def leave():
        stream = await narrow.chat_completions_create_stream_async(TALKER, MESSAGES, **ENDLESS)
        async for _ in stream:
            break
        await stream.aclose()
        await asyncio.to_thread(wait_until_idle, shared, 1)
        return await narrow.chat_completions_create_async(MODEL, MESSAGES, **GREEDY)

    assert texts(asyncio.run(leave()))


def test_many_threads_and_many_tasks(client, answer):
    with ThreadPoolExecutor(12) as pool:
        calls = [pool.submit(client.chat_completions_create, MODEL, MESSAGES, **GREEDY) for _ in range(24)]
        assert {tuple(texts(call.result())) for call in calls} == {tuple(texts(answer))}

    async def together():
        calls = [client.chat_completions_create_async(MODEL, MESSAGES, **GREEDY) for _ in range(24)]
        return await asyncio.gather(*calls)

    for _ in range(2):  # a second event loop gets connections of its own
        assert {tuple(texts(completion)) for completion in asyncio.run(together())} == {tuple(texts(answer))}


def test_connections_close_with_their_event_loop_and_with_the_client(shared):
    client = pgml.OpenSourceAI(url_of(shared))
    asyncio.run(client.chat_completions_create_async(MODEL, MESSAGES, **GREEDY))
    wait_until(lambda: not connected(shared), "the event loop's connections to close", 2)
    client.chat_completions_create(MODEL, MESSAGES, **GREEDY)
    assert connected(shared) == 1
    client.close()
    wait_until(lambda: not connected(shared), "the client's connections to close", 2)

    async def asynchronously():
        async with pgml.OpenSourceAI(url_of(shared)) as client:
            await client.chat_completions_create_async(MODEL, MESSAGES, **GREEDY)
        await asyncio.to_thread(wait_until, lambda: not connected(shared), "the connections to close", 2)

    asyncio.run(asynchronously())


def test_a_connection_that_the_server_ended_is_replaced(narrow, shared, answer):
    assert texts(narrow.chat_completions_create(MODEL, MESSAGES, **GREEDY)) == texts(answer)
    shared.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgml'")
    assert texts(narrow.chat_completions_create(MODEL, MESSAGES, **GREEDY)) == texts(answer)


@pytest.mark.parametrize(
    ("model", "options", "error", "said"),
    [
        ("no-such-model", {}, psycopg.errors.UndefinedObject, "no-such-model"),
        (MODEL, {"top_p": 7}, psycopg.errors.InvalidParameterValue, "top_p"),
        (MODEL, {"chat_template": "{{ raise_exception('no!') }}"}, psycopg.errors.InvalidParameterValue, "no!"),
    ],
)
def test_errors_are_those_of_the_server(client, model, options, error, said):
    with pytest.raises(error, match=said):
        client.chat_completions_create(model, MESSAGES, **options)
    with pytest.raises(error, match=said):
        list(client.chat_completions_create_stream(model, MESSAGES, **options))
    assert texts(client.chat_completions_create(MODEL, MESSAGES, **GREEDY))


def test_a_stream_read_in_another_thread(client, answer):
    stream = client.chat_completions_create_stream(MODEL, MESSAGES, **GREEDY)
    heard: list = []
    thread = threading.Thread(target=lambda: heard.extend(stream))
    thread.start()
    thread.join()
    assert joined(heard) == texts(answer)
