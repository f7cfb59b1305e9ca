"""Text as it comes token by token, stop strings, and trees of choices."""

from __future__ import annotations

import itertools
import random
import threading

import pytest
import torch
from transformers import AutoTokenizer

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.generation.choices import Walk, make_trie
from pgml.runtime.generation.decoding import StopFinder, TextDecoder
from pgml.runtime.generation.jobs import Job, Piece

TEXTS = [
    "The film was wonderful.",
    "naïve café – „Grüße“ 日本語 🙂👩‍👩‍👧",
    "  two  spaces\n\nand lines \t",
    "🙂",
    "",
]


@pytest.fixture(scope="session")
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model("llama-chat"))


def pieces(tokenizer, tokens, before=None):
    decoder = TextDecoder(tokenizer, before)
    return [*(decoder.push(token) for token in tokens), decoder.finish()]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_comes_in_whole_characters(tokenizer, text):
    found = pieces(tokenizer, tokenizer(text).input_ids)
    assert "".join(found) == text
    assert not any("\ufffd" in piece for piece in found)


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_text_that_ends_within_a_character_ends_before_it(tokenizer, cut):
    text = "é日🙂"
    tokens = tokenizer(text).input_ids[:cut]
    assert "".join(pieces(tokenizer, tokens)) in ("", "é", "é日", "é日🙂")


def test_any_tokens_give_what_they_give_together(tokenizer):
    generator = random.Random(1)
    for _ in range(50):
        tokens = [generator.randrange(5, len(tokenizer)) for _ in range(30)]
        whole = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert "".join(pieces(tokenizer, tokens)).rstrip("\ufffd") == whole.rstrip("\ufffd")


def test_a_continued_text_keeps_its_first_space(tokenizer):
    tokens = tokenizer("The film was good").input_ids
    assert "".join(pieces(tokenizer, tokens[-2:], tokens[:-2])) == tokenizer.decode(tokens[-2:])


@pytest.mark.parametrize(
    ("stops", "text", "wanted"),
    [
        (("###",), "an answer## and more###rest", "an answer## and more"),
        (("###",), "an answer##", "an answer##"),
        (("b", "ab"), "xxab", "xx"),
        (("aab",), "aaab", "a"),
        (("\n\n", "User:"), "one\ntwo\nUser: three", "one\ntwo\n"),
        ((), "any", "any"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_nothing_of_a_stop_string_is_given_out(stops, text, wanted, size):
    finder = StopFinder(stops)
    parts = []
    for start in range(0, len(text), size):
        parts.append(finder.push(text[start : start + size]))
        if finder.found:
            break
    assert finder.found is (wanted != text)
    parts.append(finder.finish())
    assert "".join(parts) == wanted
    assert all(wanted.startswith("".join(parts[:count])) for count in range(len(parts)))


CHOICES = {"a": [1], "ab": [1, 2], "abc": [1, 2, 3], "x": [4, 5, 6]}


@pytest.mark.parametrize(
    ("best", "wanted"),
    [([1, 0], "a"), ([1, 2, 0], "ab"), ([1, 2, 3], "abc"), ([4], "x")],
)
def test_the_most_probable_choice_is_taken(best, wanted):
    walk = Walk(make_trie(CHOICES), frozenset({0}))
    text = None
    for token in best:
        logits = torch.zeros(10)
        logits[token] = 5
        logits[9] = 50  # belongs to no choice
        _, text = walk.step(logits)
    assert text == wanted


def test_a_choice_that_another_begins_with_can_win_without_a_token_for_the_end():
    walk = Walk(make_trie({"a": [1], "ab": [1, 2]}), frozenset())
    walk.step(torch.zeros(10))
    assert walk.step(torch.zeros(10)) == (None, "a")


def test_what_a_slow_reader_has_not_read_is_one_row():
    job = Job(2, 2, lambda: False)
    for number in range(100):
        job.emit(0, str(number % 10))
        job.flush()
    job.end(1, "length", 3, 0)
    rows = job.rows()
    assert next(rows) == [Piece("0123456789" * 10), Piece("", "length", 3, 0)]
    job.emit(0, "x")
    job.end(0, "stop", 3, 101)
    assert list(rows) == [[Piece("x", "stop", 3, 101), None]]


def test_a_job_that_has_ended_before_it_is_read_gives_all():
    job = Job(1, 1, lambda: False)
    job.emit(0, "x")
    job.end(0, "stop", 1, 1)
    assert list(job.rows()) == [[Piece("x", "stop", 1, 1)]]
    assert list(Job(3, 0, lambda: False).rows()) == []


def test_a_job_that_fails_gives_what_there_was_and_then_the_error():
    job = Job(1, 1, lambda: False)
    rows = job.rows()
    found = []

    def read():
        try:
            found.extend(itertools.chain(rows))
        except RuntimeFault as fault:
            found.append(fault.message)

    reader = threading.Thread(target=read)
    reader.start()
    job.emit(0, "x")
    job.fail(RuntimeFault("out of order"))
    reader.join(10)
    assert found == [[Piece("x")], "out of order"]
    assert job.abandoned
