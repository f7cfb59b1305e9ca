"""Choosing tokens, and the arguments that say how."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import GenerationConfig, LogitsProcessorList
from transformers.generation import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.generation import sampling
from pgml.runtime.generation.sampling import choose, penalise
from pgml.runtime.generation.settings import Sampling, make_settings, parse_settings


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return torch.randn(6, 1000) * 3


def draws(count, seed=0):
    generator = random.Random(seed)
    return [generator.random() for _ in range(count)]


CASES = [
    (Sampling(temperature=0.7), [TemperatureLogitsWarper(0.7)]),
    (Sampling(top_k=9), [TopKLogitsWarper(9)]),
    (Sampling(top_p=0.6), [TopPLogitsWarper(0.6)]),
    (Sampling(min_p=0.2), [MinPLogitsWarper(0.2)]),
    (
        Sampling(temperature=1.5, top_k=40, top_p=0.9, min_p=0.05),
        [TemperatureLogitsWarper(1.5), TopKLogitsWarper(40), TopPLogitsWarper(0.9), MinPLogitsWarper(0.05)],
    ),
]


@pytest.mark.parametrize(("settings", "warpers"), CASES)
def test_tokens_are_drawn_from_the_distribution_of_transformers(logits, settings, warpers):
    wanted = LogitsProcessorList(warpers)(None, logits.clone()).softmax(-1)
    count = 4000
    for row, probabilities in zip(logits, wanted, strict=True):
        tokens = choose(row.expand(count, -1), settings, draws(count))
        found = torch.bincount(torch.tensor(tokens), minlength=1000) / count
        assert not (found > 0)[probabilities == 0].any()
        assert (found - probabilities).abs().max() < 0.04


@pytest.mark.parametrize("settings", [case[0] for case in CASES] + [Sampling(temperature=0.0)])
def test_a_row_has_its_token_whatever_is_beside_it(logits, settings):
    randoms = draws(6)
    together = choose(logits, settings, randoms)
    assert together == [choose(logits[row : row + 1], settings, randoms[row : row + 1])[0] for row in range(6)]


def test_greedy_takes_the_most_probable(logits):
    assert choose(logits, Sampling(temperature=0.0), [0.0] * 6) == logits.argmax(-1).tolist()


@pytest.mark.parametrize("top_p", [0.3, 0.999])
def test_a_mass_that_few_tokens_have_not_is_searched_among_all(logits, top_p, monkeypatch):
    wanted = choose(logits / 10, Sampling(top_p=top_p), draws(6))
    monkeypatch.setattr(sampling, "USUAL_CANDIDATES", 10**6)
    assert choose(logits / 10, Sampling(top_p=top_p), draws(6)) == wanted


def test_the_ends_of_the_range_are_tokens(logits):
    for draw in (0.0, 1 - 2**-53):
        assert all(0 <= token < 1000 for token in choose(logits, Sampling(), [draw] * 6))


def test_repeated_tokens_are_penalised_as_transformers_does(logits):
    seen = torch.tensor([3, 7, 500])
    wanted = RepetitionPenaltyLogitsProcessor(1.4)(seen[None], logits[:1].clone())[0]
    assert torch.equal(penalise(logits[0], seen, 1.4), wanted)


def settings_of(args, task="text-generation", config=None, **defaults):
    return make_settings(parse_settings(defaults, args, task), config or GenerationConfig())


@pytest.mark.parametrize(
    ("args", "config", "sampling"),
    [
        ({}, {}, Sampling()),
        ({}, {"temperature": 0.6, "top_p": 0.9, "do_sample": True}, Sampling(temperature=0.6, top_p=0.9)),
        ({"temperature": 0.2}, {"temperature": 0.6, "top_k": 5}, Sampling(temperature=0.2, top_k=5)),
        ({"temperature": 0}, {"top_k": 5}, Sampling(temperature=0.0)),
        ({"do_sample": False, "temperature": 1}, {}, Sampling(temperature=0.0)),
        ({}, {"do_sample": False}, Sampling(temperature=0.0)),
        ({"temperature": 1}, {"do_sample": False}, Sampling()),
        ({"top_p": 1, "top_k": 0, "min_p": 0}, {"top_p": 0.5, "top_k": 7}, Sampling()),
        ({"repetition_penalty": 1.2}, {}, Sampling(repetition_penalty=1.2)),
    ],
)
def test_what_is_not_said_is_as_the_model_advises(args, config, sampling):
    assert settings_of(args, config=GenerationConfig(**config)).sampling == sampling


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("max_new_tokens", -1),
        ("max_tokens", 1.5),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", "hot"),
        ("top_p", 0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("min_p", 2),
        ("n", 0),
        ("n", 1000),
        ("seed", -1),
        ("seed", 1.0),
        ("repetition_penalty", 0),
        ("stop", ""),
        ("stop", ["a", 5]),
        ("choices", []),
        ("choices", ["a", ""]),
        ("details", "true"),
        ("return_full_text", 1),
    ],
)
def test_a_value_out_of_range_is_named(name, value):
    with pytest.raises(RuntimeFault, match=f'invalid argument for text-generation: "{name}" must be') as caught:
        settings_of({name: value})
    assert caught.value.sqlstate == "22023"


def test_all_mistakes_are_one_error():
    with pytest.raises(RuntimeFault) as caught:
        settings_of({"temprature": 1, "top_p": 7, "n": 0})
    for words in ('unknown argument "temprature"', '"top_p" must be', '"n" must be'):
        assert words in caught.value.message
    assert 'Perhaps you meant "temperature"' in caught.value.hint


def test_what_is_for_conversations_only_is_unknown_elsewhere():
    assert settings_of({"chat_template": "x"}, "conversation").chat_template == "x"
    with pytest.raises(RuntimeFault, match='unknown argument "chat_template"'):
        settings_of({"chat_template": "x"})


def test_names_of_transformers_are_taken_and_null_is_absent():
    settings = settings_of({"max_new_tokens": 5, "num_return_sequences": 2, "stop_strings": ["x"], "seed": None})
    assert (settings.max_tokens, settings.n, settings.stop, settings.seed) == (5, 2, ("x",), None)
    with pytest.raises(RuntimeFault, match='"max_new_tokens" and "max_tokens" contradict each other'):
        settings_of({"max_new_tokens": 5, "max_tokens": 6})


def test_arguments_win_over_the_task_object_whose_numbers_may_be_texts():
    defaults = {"temperature": "0.5", "max_new_tokens": "7", "details": "true", "repetition_penalty": 1.5}
    settings = settings_of({"max_tokens": 9, "temperature": 0.8}, **defaults)
    assert settings.sampling == Sampling(temperature=0.8, repetition_penalty=1.5)
    assert settings.details is True
    assert settings.max_tokens == 9
    with pytest.raises(RuntimeFault, match='"temperature" must be'):
        settings_of({}, temperature="warm")
