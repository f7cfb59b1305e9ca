"""Loaded models and the turns of requests."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest

from pgml.runtime.errors import Cancelled, RuntimeFault
from pgml.runtime.serving.engine import Engine
from pgml.runtime.serving.models import ModelDirectory
from pgml.runtime.tasks import TaskSpec, text_classification

TASK = TaskSpec("text-classification")
TEXTS = ["the film was wonderful", "terrible", "the box was broken and late"]


@pytest.fixture
def engine():
    return Engine(threads=1)


@pytest.fixture
def directories(tiny_model, tmp_path):
    """Copies of a classifier by name."""

    def copy(name):
        return ModelDirectory(name, str(shutil.copytree(tiny_model("bert-classifier"), tmp_path / name)))

    return copy


def transform(engine, directory, inputs, task=TASK, cancelled=lambda: False, **args):
    return engine.transform(directory, task, inputs, args, cancelled)


def names(engine):
    return [model["name"] for model in engine.status()]


def test_results_are_in_order_with_null_for_null(engine, directories):
    model = directories("a")
    results = transform(engine, model, [None, *TEXTS, None])
    assert results[0] is results[4] is None
    for result, text in zip(results[1:4], TEXTS, strict=True):
        assert result["score"] == pytest.approx(transform(engine, model, [text])[0]["score"], abs=1e-5)


@pytest.mark.parametrize("inputs", [[], [None], [None, None]])
def test_nothing_to_compute_loads_nothing(engine, inputs):
    assert transform(engine, ModelDirectory("none", "/does/not/exist"), inputs) == inputs
    assert names(engine) == []


def test_status_tells_what_is_loaded(engine, directories):
    model = directories("a")
    for _ in range(3):
        transform(engine, model, TEXTS)
    [status] = engine.status()
    assert {key: status[key] for key in ("name", "digest", "task", "uses", "device")} == {
        "name": "a",
        "digest": None,
        "task": "text-classification",
        "uses": 3,
        "device": "cpu",
    }
    assert status["bytes"] > 100_000
    assert status["loaded_at"] < status["last_used_at"]
    assert engine.digests() == set()


def test_a_model_is_loaded_once_whoever_asks(engine, directories, monkeypatch):
    model = directories("a")
    loads = []
    load = text_classification.load

    def counted(*args):
        loads.append(args)
        return load(*args)

    monkeypatch.setattr(text_classification, "load", counted)
    results = []
    threads = [threading.Thread(target=lambda: results.append(transform(engine, model, TEXTS))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(loads) == 1
    assert len(results) == 6
    assert all(result == results[0] for result in results)


def test_a_changed_directory_is_loaded_again(engine, directories, tiny_model):
    model = directories("a")
    before = transform(engine, model, ["[the film]"])
    config = (tiny_model("bert-classifier") / "config.json").read_text()
    changed = config.replace("negative", "bad").replace("neutral", "so-so").replace("positive", "good")
    Path(model.path, "config.json").write_text(changed)
    after = transform(engine, model, ["[the film]"])
    assert after[0]["label"] in ("bad", "so-so", "good")
    assert after[0]["score"] == before[0]["score"]
    assert names(engine) == ["a"]


def test_a_stored_model_is_told_by_its_digest(engine, directories):
    model = directories("a")
    stored = ModelDirectory("pgml:1", model.path, "d" * 64)
    transform(engine, stored, TEXTS)
    assert engine.digests() == {"d" * 64}
    shutil.rmtree(model.path)
    assert len(transform(engine, stored, TEXTS)) == 3


def size_of(engine, directory):
    transform(engine, directory, TEXTS)
    return engine.status()[0]["bytes"]


def test_the_least_recently_used_model_is_evicted(directories, engine):
    a, b, c = directories("a"), directories("b"), directories("c")
    small = Engine(memory_limit=int(size_of(engine, a) * 2.5), threads=1)
    for model in (a, b, a, c):
        transform(small, model, TEXTS)
    assert names(small) == ["a", "c"]
    transform(small, b, TEXTS)
    assert names(small) == ["c", "b"]


def test_a_model_larger_than_the_limit_is_refused(directories):
    engine = Engine(memory_limit=1000)
    with pytest.raises(RuntimeFault, match='model "a" is larger than the memory limit') as caught:
        transform(engine, directories("a"), TEXTS)
    assert caught.value.sqlstate == "53200"
    assert names(engine) == []


class Gate:
    """A `cancelled` function that holds the computing thread in its n-th call."""

    def __init__(self, call):
        self.call, self.calls = call, 0
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self):
        self.calls += 1
        if self.calls == self.call:
            self.reached.set()
            assert self.open.wait(30)
        return False


def in_thread(function, *args, **kwargs):
    """Run a function in a thread; the list gets its result or its exception."""
    results = []

    def target():
        try:
            results.append(function(*args, **kwargs))
        except RuntimeFault as error:
            results.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    return thread, results


def test_a_model_in_use_is_not_evicted_and_the_next_one_waits_for_it(directories, engine):
    a, b = directories("a"), directories("b")
    small = Engine(memory_limit=int(size_of(engine, a) * 1.5), threads=1)
    transform(small, a, TEXTS)
    gate = Gate(3)
    texts = [f"film {number}" for number in range(text_classification.WINDOW + 1)]
    first, first_results = in_thread(transform, small, a, texts, cancelled=gate)
    assert gate.reached.wait(30)
    second, second_results = in_thread(transform, small, b, TEXTS)
    time.sleep(0.1)
    assert names(small) == ["a"]
    gate.open.set()
    first.join(30)
    second.join(30)
    assert len(first_results[0]) == len(texts)
    assert len(second_results[0]) == 3
    assert names(small) == ["b"]


def test_a_short_request_has_its_turn_between_the_batches_of_a_long_one(engine, directories):
    model = directories("a")
    transform(engine, model, TEXTS)
    gate = Gate(3)
    texts = [f"film {number}" for number in range(5 * text_classification.WINDOW)]
    long, long_results = in_thread(transform, engine, model, texts, cancelled=gate)
    assert gate.reached.wait(30)
    short, short_results = in_thread(transform, engine, model, TEXTS)
    while engine._computing._work_queue.empty():
        time.sleep(0.001)
    calls_before = gate.calls
    gate.open.set()
    short.join(30)
    # Two calls a step: the short request waited for the step under way, and had to yield to at most one more.
    assert gate.calls - calls_before <= 4
    assert long_results == []
    long.join(30)
    assert len(short_results[0]) == 3
    assert len(long_results[0]) == len(texts)


def test_a_cancelled_request_stops_at_its_next_batch(engine, directories):
    model = directories("a")
    calls = []

    def cancelled():
        calls.append(1)
        return len(calls) > 4

    texts = [f"film {number}" for number in range(20 * text_classification.WINDOW)]
    with pytest.raises(Cancelled):
        transform(engine, model, texts, cancelled=cancelled)
    assert len(calls) == 5
    assert engine._models._entries.popitem()[1].running == 0


def test_a_failing_request_leaves_the_model_usable(engine, directories):
    model = directories("a")
    with pytest.raises(RuntimeFault, match="unknown argument"):
        transform(engine, model, TEXTS, tok_k=1)
    with pytest.raises(RuntimeFault, match="invalid input"):
        transform(engine, model, [5])
    assert len(transform(engine, model, TEXTS)) == 3


def test_a_model_that_cannot_be_loaded_is_named(engine, directories, caplog):
    model = directories("a")
    Path(model.path, "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(RuntimeFault, match='could not load model "a"') as caught:
        transform(engine, model, TEXTS)
    assert caught.value.detail.startswith("SafetensorError: ")
    assert "Traceback" in caplog.text
    with pytest.raises(RuntimeFault, match='cannot use model "b": it cannot be used for summarization'):
        transform(engine, directories("b"), TEXTS, TaskSpec("summarization"))


def test_the_type_of_the_weights_can_be_chosen(engine, directories):
    model = directories("a")
    exact = transform(engine, model, TEXTS)
    rough = transform(engine, model, TEXTS, TaskSpec("text-classification", dtype="bfloat16"))
    assert [r["score"] for r in rough] == pytest.approx([r["score"] for r in exact], abs=0.05)
    assert rough != exact
    float32, bfloat16 = (status["bytes"] for status in engine.status())
    assert bfloat16 < 0.6 * float32
