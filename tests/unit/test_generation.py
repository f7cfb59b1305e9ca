"""Texts that several requests have computed together, against transformers' own generation."""

from __future__ import annotations

import json
import shutil
import threading

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from pgml.runtime.errors import Cancelled, RuntimeFault
from pgml.runtime.generation import batcher
from pgml.runtime.generation.packed import PackedRunner, can_pack
from pgml.runtime.generation.requests import TextRequest
from pgml.runtime.generation.single import SingleRunner
from pgml.runtime.serving.engine import Engine
from pgml.runtime.serving.models import ModelDirectory
from pgml.runtime.tasks import TaskSpec, causal

TEXTS = ["The quick brown", "Maria", "How do I reset my password? I can not find the page, and the film was late."]


@pytest.fixture(scope="module")
def engine():
    return Engine(threads=1)


def ask(engine, model, inputs, task="text-generation", cancelled=lambda: False, plain=False, **args):
    directory = model if isinstance(model, ModelDirectory) else ModelDirectory(model.name, str(model))
    request = TextRequest(TaskSpec(task), inputs, {}, args, plain=plain)
    return request.results(engine.generate(directory, request, cancelled))


def greedy(path, text, tokens, tokenizer_args=None):
    """The new text that transformers gives."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path)
    ids = tokenizer(text, return_tensors="pt", **(tokenizer_args or {})).input_ids
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens, pad_token_id=0
    )
    before = tokenizer.decode(ids[0], skip_special_tokens=True)
    return tokenizer.decode(output[0], skip_special_tokens=True)[len(before) :]


@pytest.fixture(scope="module")
def llama(tiny_model):
    return tiny_model("llama-chat")


def new_texts(results):
    return [result[0]["generated_text"] for result in results]


def test_texts_of_different_lengths_are_those_of_each_alone(engine, llama):
    results = ask(engine, llama, TEXTS, temperature=0, max_tokens=40, return_full_text=False)
    assert new_texts(results) == [greedy(llama, text, 40).rstrip("\ufffd") for text in TEXTS]


def test_requests_that_run_together_do_not_change_each_other(engine, llama):
    alone = [ask(engine, llama, [text], seed=7, max_tokens=30) for text in TEXTS]
    results = {}
    threads = [
        threading.Thread(target=lambda t=text: results.update({t: ask(engine, llama, [t], seed=7, max_tokens=30)}))
        for text in TEXTS
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [results[text] for text in TEXTS] == alone


def test_a_conversation(engine, llama):
    [answer] = ask(engine, llama, [{"role": "user", "content": "Hi"}], "conversation", temperature=0, max_tokens=20)
    template = AutoTokenizer.from_pretrained(llama)
    text = template.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True)
    wanted = greedy(llama, text, 20, {"add_special_tokens": False})
    assert answer == wanted.rstrip("\ufffd")


def test_texts_are_computed_together_where_the_model_allows(engine, llama):
    ask(engine, llama, TEXTS, max_tokens=1)
    entry = next(iter(engine._models._entries.values()))
    assert isinstance(entry.model.extra["runner"], PackedRunner)


def test_the_whole_text_holds_the_prompt(engine, llama):
    [[whole]] = ask(engine, llama, TEXTS[:1], temperature=0, max_tokens=9)
    [[new]] = ask(engine, llama, TEXTS[:1], temperature=0, max_tokens=9, return_full_text=False)
    assert whole["generated_text"] == TEXTS[0] + new["generated_text"]


def test_sequences_of_one_prompt_are_those_of_the_seeds_that_follow(engine, llama):
    [together] = ask(engine, llama, TEXTS[2:], n=3, seed=5, max_tokens=30)
    alone = [ask(engine, llama, TEXTS[2:], seed=seed, max_tokens=30)[0][0] for seed in (5, 6, 7)]
    assert together == alone
    assert len({text["generated_text"] for text in together}) == 3


def test_a_text_without_seed_is_another_each_time(engine, llama):
    texts = {ask(engine, llama, TEXTS[:1], max_tokens=30)[0][0]["generated_text"] for _ in range(4)}
    assert len(texts) > 1


def test_a_long_prompt_in_parts_has_the_text_of_the_whole(engine, llama, monkeypatch):
    whole = ask(engine, llama, TEXTS, temperature=0, max_tokens=20)
    monkeypatch.setattr(batcher, "MOST_PROMPT_TOKENS", 7)
    assert ask(engine, llama, TEXTS, temperature=0, max_tokens=20) == whole


def test_more_texts_than_a_batch_holds(engine, llama, monkeypatch):
    monkeypatch.setattr(batcher, "USUAL_SEQUENCES", 3)
    texts = [f"{text} {number}" for number in range(3) for text in TEXTS]
    together = ask(engine, llama, [*texts, None], temperature=0, max_tokens=9)
    assert together == [*(ask(engine, llama, [text], temperature=0, max_tokens=9)[0] for text in texts), None]


def test_a_model_that_cannot_be_packed_gives_the_same_texts(llama):
    engine = Engine(threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(causal, "can_pack", lambda module: False)
        results = ask(engine, llama, TEXTS, temperature=0, max_tokens=20, n=2)
    entry = next(iter(engine._models._entries.values()))
    assert isinstance(entry.model.extra["runner"], SingleRunner)
    packed = ask(Engine(threads=1), llama, TEXTS, temperature=0, max_tokens=20, n=2)
    assert results == packed


SIZE = {"vocab_size": 300, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "head_dim": 8}
SIZE |= {"num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 128}
GPT = {"vocab_size": 300, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
KINDS = {
    "gpt2": (GPT | {"bos_token_id": 0, "eos_token_id": 0}, True),
    "gemma3_text": (SIZE | {"sliding_window": 8}, True),
    "mistral": (SIZE | {"sliding_window": 8}, True),
    "qwen3": (SIZE, True),
    "bloom": ({"vocab_size": 300, "hidden_size": 32, "n_layer": 2, "n_head": 4}, False),
    "gemma2": (SIZE | {"sliding_window": 8}, False),
    "mamba": ({"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}, False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_architecture_goes_on_as_transformers_has_it(kind):
    settings, packs = KINDS[kind]
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5 if parameter.dim() > 1 else 1)
    prompts = [[5, 6, 7], [9, 8, *range(20, 45)], [3]]
    wanted = [generated(model, prompt) for prompt in prompts]
    assert can_pack(model) is packs
    assert [generated(model, prompt) for prompt in prompts] == wanted  # the model is as it was
    runner = PackedRunner(model) if packs else SingleRunner(model)
    states, waiting = [runner.start() for _ in prompts], [list(prompt) for prompt in prompts]
    found = [[] for _ in prompts]
    for _ in range(20):
        parts = [(state, tokens[:7] if packs else tokens) for state, tokens in zip(states, waiting, strict=True)]
        for number, scores in enumerate(runner.forward(parts)):
            waiting[number] = waiting[number][len(parts[number][1]) :]
            if not waiting[number]:
                waiting[number] = [int(scores.argmax())]
                found[number] += waiting[number]
    assert [tokens[:16] for tokens in found] == wanted


def generated(model, prompt):
    ids = torch.tensor([prompt])
    options = {"pad_token_id": 0, "eos_token_id": None, "max_new_tokens": 16, "do_sample": False}
    return model.generate(ids, attention_mask=torch.ones_like(ids), **options)[0, len(prompt) :].tolist()


MESSAGES = [{"role": "user", "content": "Is it good?"}]


@pytest.mark.parametrize("choices", [["yes", "no"], ["a film", "a filming", "a"], ["好", "🙂"], ["one", "one"]])
def test_an_answer_is_exactly_one_of_the_choices(engine, llama, choices):
    [answer] = ask(engine, llama, MESSAGES, "conversation", choices=choices, details=True)
    assert answer["text"] in choices
    assert answer["finish_reason"] == "stop"
    assert ask(engine, llama, MESSAGES, "conversation", choices=choices[::-1], seed=3) == [answer["text"]]


def test_conversations_come_in_three_forms(engine, llama):
    args = {"temperature": 0, "max_tokens": 9}
    [one] = ask(engine, llama, MESSAGES, "conversation", **args)
    assert ask(engine, llama, [MESSAGES, None, MESSAGES], "conversation", **args) == [one, None, one]
    assert ask(engine, llama, ["Is it good?", "Is it good?"], "conversation", **args) == [one, one]
    assert ask(engine, llama, MESSAGES, "conversation", n=2, **args) == [one, one]
    assert ask(engine, llama, [MESSAGES], "conversation", n=2, **args) == [[one, one]]
    assert ask(engine, llama, [None], "conversation", **args) == [None]


def test_the_last_message_can_be_continued(engine, llama):
    answer = {"role": "assistant", "content": "The film"}
    with pytest.raises(RuntimeFault, match="ends with a message of the assistant") as caught:
        ask(engine, llama, [*MESSAGES, answer], "conversation")
    assert "continue_final_message" in caught.value.hint
    args = {"temperature": 0, "max_tokens": 5, "continue_final_message": True}
    with pytest.raises(RuntimeFault, match="needs a conversation that ends with"):
        ask(engine, llama, MESSAGES, "conversation", **args)
    [text] = ask(engine, llama, [*MESSAGES, answer], "conversation", **args)
    assert not text.startswith("The film")


def test_a_template_can_be_given(engine, llama):
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    [text] = ask(engine, llama, MESSAGES, "conversation", chat_template=template, temperature=0, max_tokens=9)
    assert text == greedy(llama, "Is it good?", 9).rstrip("\ufffd")
    with pytest.raises(RuntimeFault, match="chat template could not render") as caught:
        ask(engine, llama, MESSAGES, "conversation", chat_template="{{ raise_exception('no') }}")
    assert "no" in caught.value.detail


@pytest.mark.parametrize(
    ("task", "inputs", "message"),
    [
        ("conversation", [[]], "a conversation must have a message at least"),
        ("conversation", [5], "inputs are neither messages, nor conversations, nor texts"),
        ("conversation", [{"role": "user", "content": "x"}, "x"], "inputs are neither"),
        ("conversation", [{"role": "usr", "content": "x"}], 'unknown role "usr" in message 1'),
        ("text-generation", [MESSAGES], "input for text-generation is not a text"),
        ("text-generation", [{"a": 1}], "input for text-generation is not a text"),
    ],
)
def test_bad_inputs_are_refused(engine, llama, task, inputs, message):
    with pytest.raises(RuntimeFault, match=message) as caught:
        ask(engine, llama, inputs, task)
    assert caught.value.sqlstate == "22023"


def test_a_prompt_longer_than_the_context_says_both_lengths(engine, llama):
    with pytest.raises(RuntimeFault, match=r"prompt of \d{4} tokens is too long for the model's context of 512 tokens"):
        ask(engine, llama, ["film " * 1000])


def test_an_answer_ends_with_the_context(engine, llama):
    args = {"max_tokens": 10_000, "n": 8, "seed": 1, "details": True}
    [texts] = ask(engine, llama, ["film " * 160], **args)
    assert "length" in {text["finish_reason"] for text in texts}
    for text in texts:
        total = text["prompt_tokens"] + text["completion_tokens"]
        assert total == 512 if text["finish_reason"] == "length" else total <= 512


def test_an_empty_text_begins_as_all_texts_do(engine, llama):
    [[text]] = ask(engine, llama, [""], temperature=0, max_tokens=5, details=True)
    assert text["prompt_tokens"] == 1
    assert text["completion_tokens"] >= 1


def test_an_answer_ends_before_a_stop_string(engine, llama):
    [[whole]] = ask(engine, llama, TEXTS[:1], temperature=0, max_tokens=30, return_full_text=False)
    stop = whole["generated_text"][9:11]
    [[cut]] = ask(
        engine, llama, TEXTS[:1], temperature=0, max_tokens=30, stop=stop, return_full_text=False, details=True
    )
    assert cut["generated_text"] == whole["generated_text"].partition(stop)[0]
    assert cut["finish_reason"] == "stop"


def test_an_answer_ends_with_the_token_that_ends_turns(tiny_model, tmp_path):
    path = shutil.copytree(tiny_model("llama-chat"), tmp_path / "copy")
    engine = Engine(threads=1)
    [[first]] = ask(engine, path, ["The film"], temperature=0, max_tokens=20, details=True, return_full_text=False)
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path)
    ids = tokenizer("The film", return_tensors="pt").input_ids
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20, pad_token_id=0
    )
    tokens = output[0, ids.shape[1] :].tolist()
    end = next(token for number, token in enumerate(tokens) if number > 3 and token not in tokens[:number])
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": [end, 399]}))
    [[cut]] = ask(engine, path, ["The film"], temperature=0, max_tokens=20, details=True, return_full_text=False)
    assert cut["finish_reason"] == "stop"
    assert cut["completion_tokens"] == tokens.index(end) + 1
    assert first["generated_text"].startswith(cut["generated_text"].rstrip("\ufffd"))


def test_cancelling_ends_a_request_before_its_next_token(engine, llama):
    calls = []

    def cancelled():
        calls.append(1)
        return len(calls) > 12

    with pytest.raises(Cancelled):
        ask(engine, llama, TEXTS[:1], seed=1, max_tokens=400, cancelled=cancelled)
    assert len(calls) < 16
    assert not any(entry.running for entry in engine._models._entries.values())


def test_a_repetition_penalty_is_that_of_transformers(engine, llama):
    tokenizer = AutoTokenizer.from_pretrained(llama)
    model = AutoModelForCausalLM.from_pretrained(llama)
    ids = tokenizer(TEXTS[0], return_tensors="pt").input_ids
    options = {"repetition_penalty": 1.8, "pad_token_id": 0, "do_sample": False, "max_new_tokens": 25}
    output = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    wanted = tokenizer.decode(output[0], skip_special_tokens=True)
    [[text]] = ask(engine, llama, TEXTS[:1], temperature=0, repetition_penalty=1.8, max_tokens=25)
    assert text["generated_text"] == wanted.rstrip("\ufffd")
