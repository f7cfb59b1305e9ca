"""Streams over a real connection, and adapters whose base is asked for."""

from __future__ import annotations

import json
import shutil
import socket
import time

import pytest
from adapters import make_adapter
from serving import directory_model, stored_model

from pgml.runtime import frames

HELLO = [{"role": "user", "content": "How do I reset my password?"}]
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # of transformers, for peft


@pytest.fixture
def chat(tiny_model):
    return directory_model(tiny_model("llama-chat"))


def send_stream(backend, model, inputs, task="conversation", **args):
    header = {"op": "stream", "task": {"task": task} if task else {}, "args": args, "model": model, "inputs": "json"}
    backend.send(header, frames.encode(inputs))


def read_stream(backend):
    """The rows, and the last frame."""
    rows = []
    while True:
        header, payload = backend.read()
        if not header.get("piece"):
            return rows, header
        rows.append(json.loads(payload))


def running(handlers):
    return sum(entry.running for entry in handlers._engine._models._entries.values())


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("args", [{"temperature": 0}, {"seed": 3, "n": 2}, {"seed": 1, "stop": ["e"], "n": 3}])
def test_the_pieces_of_a_stream_are_the_result(backend, chat, args):
    results = backend.transform(chat, HELLO, "conversation", max_tokens=60, **args)
    send_stream(backend, chat, HELLO, max_tokens=60, **args)
    rows, last = read_stream(backend)
    assert last == {"ok": True}
    assert all(any(row) for row in rows)
    assert ["".join(parts) for parts in zip(*rows, strict=True)] == results
    if "stop" not in args:
        assert len(rows) > 5


def test_the_last_piece_of_a_sequence_tells_why_it_ended(backend, chat):
    conversations = [HELLO, None, HELLO]
    [first, null, _] = backend.transform(chat, conversations, "conversation", max_tokens=9, temperature=0, details=True)
    assert null is None
    assert first["finish_reason"] == "length"
    assert first["completion_tokens"] == 9
    assert first["prompt_tokens"] > 20
    send_stream(backend, chat, conversations, max_tokens=9, temperature=0, details=True)
    rows, _ = read_stream(backend)
    column = [row[0] for row in rows if row[0]]
    assert {key: column[-1][key] for key in first if key != "text"} == {k: v for k, v in first.items() if k != "text"}
    assert all(piece["finish_reason"] is piece["completion_tokens"] is None for piece in column[:-1])
    assert "".join(piece["text"] for piece in column) == first["text"]
    assert all(row[1] is None for row in rows)


def test_the_first_row_comes_before_the_last_token_is_computed(backend, chat, handlers):
    send_stream(backend, chat, HELLO, max_tokens=400, seed=1)
    assert backend.read()[0] == {"piece": True}
    assert running(handlers) == 1
    rows, last = read_stream(backend)
    assert len(rows) > 20
    assert last == {"ok": True}


def test_closing_the_connection_stops_the_stream(connect, chat, handlers):
    backend, other = connect(), connect()
    forward = None
    send_stream(backend, chat, HELLO, max_tokens=450, seed=1)
    backend.read()
    runner = next(iter(handlers._engine._models._entries.values())).model.extra["runner"]
    steps = []
    forward = runner.forward
    runner.forward = lambda parts: steps.append(len(parts)) or forward(parts)
    backend.close()
    wait_until(lambda: not running(handlers))
    assert len(steps) <= 5  # until the close was seen
    assert other.transform(chat, HELLO, "conversation", max_tokens=3, temperature=0)


def test_a_reader_that_does_not_read_holds_up_nobody(connect, chat, handlers):
    slow, other = connect(), connect()
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    send_stream(slow, chat, [HELLO] * 20, max_tokens=400, seed=1)
    slow.read()
    assert other.transform(chat, HELLO, "conversation", max_tokens=5, temperature=0)
    rows, last = read_stream(slow)
    assert last == {"ok": True}
    assert all(len(row) == 20 for row in rows)


def test_a_short_answer_does_not_wait_for_a_long_one(connect, chat, tiny_model):
    long, short = connect(), connect()
    send_stream(long, chat, HELLO, max_tokens=450, seed=1, details=True)
    long.read()
    assert short.transform(chat, HELLO, "conversation", max_tokens=3, temperature=0)
    classifier = directory_model(tiny_model("bert-classifier"))
    assert short.transform(classifier, ["film"], "text-classification")
    tokens = 1
    rows, _ = read_stream(long)
    tokens = rows[-1][0]["completion_tokens"]
    assert tokens > 100
    assert len(rows) > 20


@pytest.mark.parametrize(
    ("task", "inputs", "args", "message"),
    [
        ("conversation", [{"role": "user"}], {}, 'message 1 of the conversation has no "content"'),
        ("conversation", [HELLO], {"max_tokens": 0}, 'invalid argument for conversation: "max_tokens" must be'),
        ("text-classification", ["x"], {}, "task text-classification cannot be streamed"),
        ("conversation", [{"role": "user", "content": "film " * 600}], {}, "too long for the model's context of 512"),
    ],
)
def test_an_error_reaches_the_reader_of_a_stream(backend, chat, task, inputs, args, message):
    send_stream(backend, chat, inputs, task, **args)
    rows, last = read_stream(backend)
    assert rows == []
    assert message in last["error"]["message"]
    assert backend.transform(chat, HELLO, "conversation", max_tokens=2)


def test_an_exception_in_a_step_ends_its_requests_and_nothing_else(backend, chat, handlers, caplog):
    assert backend.transform(chat, HELLO, "conversation", max_tokens=2, temperature=0)
    runner = next(iter(handlers._engine._models._entries.values())).model.extra["runner"]
    forward, calls = runner.forward, []

    def failing(parts):
        calls.append(parts)
        if len(calls) == 8:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return forward(parts)

    runner.forward = failing
    send_stream(backend, chat, HELLO, max_tokens=100, seed=1)
    rows, last = read_stream(backend)
    assert 0 < len(rows) < 10
    assert (last["error"]["sqlstate"], last["error"]["message"]) == ("53200", "could not generate text: out of memory")
    assert len(backend.transform(chat, HELLO, "conversation", max_tokens=9, temperature=0)) == 1
    assert "Traceback" in caplog.text


def test_a_task_object_of_an_old_client(backend, chat):
    task = {
        "task": "conversational",
        "model": "x",
        "token": "hf_abcdefghijk",
        "load_in_8bit": "true",
        "temperature": "0.0",
    }
    backend.send_transform(chat, HELLO, task, max_tokens=5)
    assert backend.read()[0] == {
        "notice": 'model is used in float32: "load_in_8bit" needs a library that is for GPUs only'
    }
    answer = backend.result()
    assert answer == backend.transform(chat, HELLO, "conversation", max_tokens=5, temperature=0)


def test_the_task_of_a_decoder_is_told_from_the_inputs(backend, chat):
    [text] = backend.transform(chat, HELLO, max_tokens=3, temperature=0)
    assert isinstance(text, str)
    [[generated]] = backend.transform(chat, ["The film"], max_tokens=3, temperature=0)
    assert generated["generated_text"].startswith("The film")


def test_texts_for_generate(backend, chat):
    args = {"max_tokens": 5, "temperature": 0}
    for task, inputs in (("conversation", HELLO[0]["content"]), ("text_generation", "The film")):
        header = {"op": "transform", "task": {}, "form": "text", "args": args, "model": {**chat, "task": task}}
        backend.send(header, frames.encode([inputs, None]))
        [text, null] = backend.result()
        assert null is None
        assert isinstance(text, str)
        assert not text.startswith(inputs)
        backend.send({**header, "args": {"n": 2}}, frames.encode([inputs]))
        assert backend.result()["message"] == "n cannot be used where the result is one text"


@pytest.fixture
def adapter(tiny_model, tmp_path):
    return make_adapter(tiny_model("llama-chat"), tmp_path / "adapter", 1, task="conversation")


def test_the_base_of_an_adapter_is_asked_for(backend, chat, adapter):
    model = stored_model(adapter, "conversation")
    backend.send_transform(model, HELLO, max_tokens=8, temperature=0)
    assert backend.read()[0]["need"] == "files"
    backend.send_files(adapter, model)
    assert backend.read()[0] == {"need": "model", "name": "llama-chat", "revision": None}
    backend.send({"model": chat})
    tuned = backend.result()
    assert tuned != backend.transform(chat, HELLO, max_tokens=8, temperature=0)
    backend.send({"op": "status"})
    loaded = {status["name"]: status for status in backend.read()[0]["status"]["models"]}
    assert loaded["pgml:12"]["base"] == "llama-chat"
    assert loaded["pgml:12"]["task"] == "conversation"


def test_the_base_of_an_adapter_may_be_stored(backend, chat, adapter, tiny_model):
    base = stored_model(tiny_model("llama-chat"), "conversation")
    backend.send_transform(directory_model(adapter), HELLO, max_tokens=8, temperature=0)
    assert backend.read()[0] == {"need": "model", "name": "llama-chat", "revision": None}
    backend.send({"model": base})
    assert backend.read()[0] == {"need": "files", "digest": base["digest"]}
    backend.send_files(tiny_model("llama-chat"), base)
    assert len(backend.result()) == 1


def test_a_base_that_is_gone_or_changed_is_a_clear_error(backend, chat, adapter, tmp_path):
    model = directory_model(adapter)
    gone = {"sqlstate": "58P01", "message": 'model "llama-chat" does not exist', "detail": None, "hint": "Put it back."}
    backend.send_transform(model, HELLO)
    backend.read()
    backend.send({"error": gone})
    message = 'base model "llama-chat" of "adapter" cannot be used: model "llama-chat" does not exist'
    assert backend.result() == {**gone, "message": message}

    changed = shutil.copytree(chat["path"], tmp_path / "changed")
    (changed / "config.json").write_text((changed / "config.json").read_text() + "\n")
    backend.send_transform(model, HELLO)
    backend.read()
    backend.send({"model": directory_model(changed)})
    error = backend.result()
    assert error["sqlstate"] == "55000"
    assert error["message"] == 'base model "llama-chat" of "adapter" has changed since it was tuned'

    backend.send_transform(model, HELLO)
    backend.read()
    backend.send({"model": model})
    assert "is an adapter, which cannot be a base" in backend.result()["message"]
    assert len(backend.transform(chat, HELLO, max_tokens=2)) == 1
