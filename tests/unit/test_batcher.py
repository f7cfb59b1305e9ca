"""Who joins a batch, when, and who has to leave it. The model is a rule: after a token comes the next number."""

from __future__ import annotations

import threading
from collections import deque

import pytest
import torch

from pgml.runtime.errors import Cancelled, RuntimeFault
from pgml.runtime.generation import batcher as batching
from pgml.runtime.generation.batcher import Batcher
from pgml.runtime.generation.jobs import Job
from pgml.runtime.generation.sequences import Prompt, make_sequences
from pgml.runtime.generation.settings import Sampling

GREEDY = Sampling(temperature=0.0)


class Letters:
    """A tokenizer: token 1 is the letter a."""

    def decode(self, tokens, **options):
        return "".join(chr(96 + token) for token in tokens)


class Counting:
    """A runner that notes what it was given."""

    chunks = True

    def __init__(self):
        self.steps = []

    def start(self):
        return []

    def fork(self, state):
        return list(state)

    def forward(self, parts):
        self.steps.append([list(tokens) for _, tokens in parts])
        for state, tokens in parts:
            state.extend(tokens)
        scores = torch.zeros(len(parts), 60)
        for row, (state, _) in enumerate(parts):
            scores[row, state[-1] + 1] = 1
        return scores


class Alone:
    """Adapters that each take a pass of their own."""

    def __init__(self):
        self.active = []

    def passes(self, names):
        return [{name} for name in names]

    def activate(self, shares):
        self.active.append(shares)


class Turns:
    """What was submitted, taken one by one by the test."""

    def __init__(self):
        self.waiting = deque()

    def __call__(self, function):
        self.waiting.append(function)

    def take(self, count=10**6):
        while self.waiting and count:
            self.waiting.popleft()()
            count -= 1


@pytest.fixture
def turns():
    return Turns()


@pytest.fixture
def runner():
    return Counting()


@pytest.fixture
def batcher(runner, turns):
    return Batcher(runner, turns, Alone())


def add(batcher, tokens, count=1, n=1, adapter=None, cancelled=lambda: False, max_tokens=3):
    job = Job(count * n, count * n, cancelled)
    prompt = Prompt(tokens, GREEDY, max_tokens, frozenset({50}), adapter=adapter)
    batcher.add(job, [make_sequences(job, number * n, prompt, n, 1, Letters()) for number in range(count)])
    return job


def texts(job):
    found = {}
    for row in job.rows():
        for number, piece in enumerate(row):
            if piece:
                found[number] = found.get(number, "") + piece.text
    return list(found.values())


def test_a_request_joins_while_another_runs_and_leaves_before_it(batcher, turns, runner):
    long = add(batcher, [1, 2], max_tokens=8)
    turns.take(3)
    short = add(batcher, [10], max_tokens=2)
    turns.take(2)
    assert texts(short) == ["kl"]
    assert runner.steps[3] == [[5], [10]]
    turns.take()
    assert texts(long) == ["cdefghij"]
    assert not turns.waiting


def test_there_is_one_turn_at_a_time(batcher, turns):
    for _ in range(5):
        add(batcher, [1])
    assert len(turns.waiting) == 1
    turns.take(1)
    assert len(turns.waiting) == 1


def test_a_prompt_is_read_once_for_all_its_sequences(batcher, turns, runner):
    job = add(batcher, [1, 2, 3], n=3)
    turns.take()
    assert texts(job) == ["def"] * 3
    assert runner.steps[:2] == [[[1, 2, 3]], [[4], [4], [4]]]


def test_a_long_prompt_is_read_in_parts_beside_others(batcher, turns, runner, monkeypatch):
    monkeypatch.setattr(batching, "MOST_PROMPT_TOKENS", 2)
    add(batcher, [20], max_tokens=9)
    turns.take(1)
    job = add(batcher, [1, 2, 3, 4, 5])
    turns.take()
    assert runner.steps[1:4] == [[[21], [1, 2]], [[22], [3, 4]], [[23], [5]]]
    assert texts(job) == ["fgh"]


def test_a_short_prompt_does_not_wait_for_a_long_one(batcher, turns, runner, monkeypatch):
    monkeypatch.setattr(batching, "MOST_PROMPT_TOKENS", 4)
    add(batcher, list(range(1, 40)))
    turns.take(1)
    job = add(batcher, [7, 8, 9])
    turns.take(1)
    assert runner.steps[1] == [[7, 8, 9], [5]]
    turns.take(2)
    assert texts(job) == ["jkl"]


def test_how_much_of_a_prompt_is_read_at_a_time_follows_the_speed(turns, monkeypatch):
    class Slow(Counting):
        def forward(self, parts):
            clock[0] += sum(len(tokens) for _, tokens in parts) / 128  # 128 tokens a second
            return super().forward(parts)

    clock = [0.0]
    monkeypatch.setattr(batching.time, "monotonic", lambda: clock[0])
    runner = Slow()
    batcher = Batcher(runner, turns, Alone())
    add(batcher, [1] * 1000)
    turns.take(3)
    assert [len(tokens) for [tokens] in runner.steps] == [512, 128, 128]
    add(batcher, [1], max_tokens=50)
    turns.take(2)
    assert [len(tokens) for tokens in runner.steps[-1]] == [1, 32]


def test_a_request_of_many_leaves_room_for_others(batcher, turns, runner, monkeypatch):
    monkeypatch.setattr(batching, "USUAL_SEQUENCES", 4)
    many = add(batcher, [1], count=10, max_tokens=4)
    turns.take(1)
    assert len(runner.steps[0]) == 4
    few = add(batcher, [30], count=2, max_tokens=1)
    turns.take(1)
    assert [30] in runner.steps[1]
    turns.take()
    assert texts(few) == ["\x7f"] * 2
    assert texts(many) == ["bcde"] * 10
    assert max(len(step) for step in runner.steps) <= 5


def test_memory_limits_how_many_run_but_one_always_does(runner, turns):
    small = Batcher(runner, turns, Alone(), most_tokens=10)
    jobs = [add(small, [1], max_tokens=tokens) for tokens in (4, 4, 4, 20)]
    turns.take()
    assert [len(texts(job)[0]) for job in jobs] == [4, 4, 4, 20]
    assert max(len(step) for step in runner.steps) == 2


def test_a_client_that_goes_leaves_before_the_next_token(batcher, turns, runner):
    gone = threading.Event()
    job = add(batcher, [1], count=3, max_tokens=20, cancelled=gone.is_set)
    other = add(batcher, [7], max_tokens=5)
    turns.take(2)
    gone.set()
    turns.take(1)
    assert runner.steps[2] == [[9]]
    with pytest.raises(Cancelled):
        texts(job)
    turns.take()
    assert texts(other) == ["hijkl"]


def test_rows_of_one_adapter_are_computed_together(runner, turns):
    adapters = Alone()
    batcher = Batcher(runner, turns, adapters)
    jobs = [add(batcher, [number], adapter=adapter) for number, adapter in enumerate(["x", None, "x"], 1)]
    turns.take(1)
    assert sorted(runner.steps, key=len) == [[[2]], [[1], [3]]]
    assert sorted(adapters.active, key=len) == [[(None, 1)], [("x", 1), ("x", 1)]]
    turns.take()
    assert [texts(job) for job in jobs] == [["bcd"], ["cde"], ["def"]]


def test_what_fails_is_the_group_of_the_step_and_nothing_else(turns, caplog):
    class Failing(Counting):
        def forward(self, parts):
            if any(tokens == [12] for _, tokens in parts):
                raise ValueError("no")
            return super().forward(parts)

    class Broken(Alone):
        def activate(self, shares):
            if ("broken", 1) in shares:
                raise OSError("gone")

    batcher = Batcher(Failing(), turns, Broken())
    jobs = [add(batcher, [1]), add(batcher, [10], adapter="x", max_tokens=9), add(batcher, [3], adapter="broken")]
    turns.take()
    assert texts(jobs[0]) == ["bcd"]
    for job, detail in ((jobs[1], "ValueError: no"), (jobs[2], "OSError: gone")):
        with pytest.raises(RuntimeFault, match="could not generate text") as caught:
            texts(job)
        assert caught.value.detail == detail
    again = add(batcher, [1])
    turns.take()
    assert texts(again) == ["bcd"]
    assert "Traceback" in caplog.text


def test_a_request_that_cannot_be_asked_ends_and_no_other(batcher, turns, caplog):
    def cancelled():
        raise ValueError("bad socket")

    other = add(batcher, [1])
    job = add(batcher, [1], cancelled=cancelled)
    turns.take()
    with pytest.raises(RuntimeFault, match="could not generate text"):
        texts(job)
    assert texts(other) == ["bcd"]
    assert "Traceback" in caplog.text


def test_a_step_that_cannot_begin_ends_all_and_not_the_batcher(runner, turns, caplog):
    class Broken(Alone):
        def passes(self, names):
            if None not in names:
                raise ValueError("no")
            return super().passes(names)

    batcher = Batcher(runner, turns, Broken())
    job = add(batcher, [1], adapter="x")
    turns.take(3)
    with pytest.raises(RuntimeFault, match="could not generate text"):
        texts(job)
    assert not turns.waiting
    again = add(batcher, [1])
    turns.take()
    assert texts(again) == ["bcd"]
    assert "Traceback" in caplog.text
