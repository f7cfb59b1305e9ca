"""The trainer as a process, for language models: with LoRA and whole, conversations and texts."""

from __future__ import annotations

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from tuning import COLOURS, easy_rows, easy_talks, make_job, train

from pgml import __version__
from pgml.runtime.bases import weights_digest
from pgml.runtime.conversations import encode

TRAINING = {"learning_rate": 1e-2, "num_train_epochs": 8, "per_device_train_batch_size": 6}
LORA = {"training_args": TRAINING, "lora_config": {"r": 16}}


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """One run with LoRA that several tests look at, and the adapter it sent."""
    directory = tmp_path_factory.mktemp("trained")
    run = train(make_job(directory / "job", tiny_model("llama-chat"), easy_talks(), LORA))
    assert run.status == 0, run.last
    return run, run.store(directory / "stored")


def answer(model, tokenizer, question):
    ids = torch.tensor([encode(tokenizer, [{"role": "user", "content": question}], add_generation_prompt=True)])
    output = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False, pad_token_id=0
    )
    return tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)


def messages_of(run):
    return [frame["message"] for frame in run.of("notice")]


def test_only_the_adapter_is_sent(trained, tiny_model):
    _, stored = trained
    sizes = {path.name: path.stat().st_size for path in stored.iterdir()}
    assert sorted(sizes) == ["adapter_config.json", "adapter_model.safetensors", "pgml.json"]
    assert sum(sizes.values()) < 1.1 * sizes["adapter_model.safetensors"]
    config = json.loads((stored / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"], config["r"]) == ("tiny", None, 16)
    assert json.loads((stored / "pgml.json").read_text()) == {
        "format": 1,
        "task": "conversation",
        "tokenizer_args": {"max_length": 512},
        "pgml_version": __version__,
        "base": {"name": "tiny", "revision": None, "digest": weights_digest(str(tiny_model("llama-chat")))},
    }


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")  # peft asks for it
def test_the_adapter_on_its_base_has_learned(trained, tiny_model):
    _, stored = trained
    base = tiny_model("llama-chat")
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    before = answer(model, tokenizer, "What is red?")
    model = PeftModel.from_pretrained(model, stored).eval()
    assert "is a colour." not in before
    assert answer(model, tokenizer, "What is red?").endswith("is a colour.")


def test_weights_are_stored_as_they_were_measured(trained):
    _, stored = trained
    weights = load_file(stored / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}


def test_metrics(trained):
    run, _ = trained
    metrics = run.last["metrics"]
    assert 0 < metrics["loss"] < 2
    assert metrics["perplexity"] == pytest.approx(2.718281828 ** metrics["loss"], rel=1e-3)
    assert 0.5 < metrics["token_accuracy"] <= 1
    assert metrics["trainable_parameters"] < metrics["parameters"]
    assert (metrics["train_rows"], metrics["test_rows"]) == (18, 6)
    assert (metrics["truncated_rows"], metrics["dropped_rows"]) == (0, 0)
    assert (metrics["epoch"], metrics["steps"]) == (8, 24)
    for name in ("train_loss", "train_runtime", "train_tokens_per_second", "total_flos", "peak_memory_bytes"):
        assert metrics[name] > 0, name
    assert not [name for name in metrics if name.startswith("eval_")]


def test_each_evaluation_logs_answers_beside_the_wanted_ones(trained):
    run, _ = trained
    rows = [frame["logs"] for frame in run.of("log")]
    evaluations = [row for row in rows if "eval_loss" in row]
    assert {"eval_perplexity", "eval_token_accuracy"} <= evaluations[0].keys()
    sampled = [row for row in rows if "eval_samples" in row]
    assert [row["step"] for row in sampled] == [row["step"] for row in evaluations]
    assert {"step", "max_steps", "epoch", "timestamp"} <= sampled[-1].keys()
    for sample in sampled[-1]["eval_samples"]:
        assert sample["wanted"] in [f"{colour} is a colour." for colour in COLOURS]
        assert "What is " in sample["prompt"]
    assert len(sampled[-1]["eval_samples"]) == 3
    assert sampled[-1]["eval_samples"][0]["answer"].endswith("colour.")
    assert evaluations[-1]["eval_loss"] < evaluations[0]["eval_loss"]


def test_notices(trained):
    run, _ = trained
    sizes = run.last["metrics"]
    assert messages_of(run) == [
        "loading the base model",
        f"training an adapter of {sizes['trainable_parameters']} of {sizes['parameters']} parameters",
        "tokenising 24 rows",
        "training on 18 rows, testing on 6, on the CPU",
    ]


def test_the_log_is_json_lines_and_quiet(trained):
    run, _ = trained
    assert [json.loads(line) for line in run.log] == []


def test_the_same_seed_gives_the_same_weights(trained, tiny_model, tmp_path):
    _, stored = trained
    again = train(make_job(tmp_path / "job", tiny_model("llama-chat"), easy_talks(), LORA)).store(tmp_path / "stored")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (stored / name).read_bytes() == (again / name).read_bytes()


def test_full_tuning_of_a_model_without_a_template_stores_all_and_chatml(tiny_model, tmp_path):
    columns = {"messages": [
        json.dumps([{"from": "human", "value": f"What is {colour}?"}, {"from": "gpt", "value": f"{colour} it is"}])
        for colour in COLOURS * 6
    ]}  # fmt: skip
    hyperparams = {"training_args": TRAINING, "max_seq_length": 60}
    run = train(make_job(tmp_path / "job", tiny_model("llama"), columns, hyperparams))
    assert run.status == 0, run.last
    metrics = run.last["metrics"]
    assert metrics["trainable_parameters"] == metrics["parameters"]
    stored = run.store(tmp_path / "stored")
    assert {"model.safetensors", "config.json", "tokenizer.json", "pgml.json", "chat_template.jinja"} <= {
        path.name for path in stored.iterdir()
    }
    assert "base" not in json.loads((stored / "pgml.json").read_text())
    model, tokenizer = AutoModelForCausalLM.from_pretrained(stored), AutoTokenizer.from_pretrained(stored)
    assert model.dtype == torch.float32
    assert answer(model, tokenizer, "What is red?").endswith(" it is")


def test_an_adapter_of_a_prompt_template_brings_its_chat_template(tiny_model, tmp_path):
    template = "{system}\nQ: {user}\nA: {assistant}{eos_token}"
    hyperparams = {"training_args": {"max_steps": 2}, "lora_config": {"r": 2}, "prompt_template": template}
    run = train(make_job(tmp_path / "job", tiny_model("llama-chat"), easy_talks(), hyperparams))
    stored = run.store(tmp_path / "stored")
    assert json.loads((stored / "pgml.json").read_text())["prompt_template"] == template
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("llama-chat"))
    tokenizer.chat_template = (stored / "chat_template.jinja").read_text()
    ids = encode(tokenizer, [{"role": "user", "content": "Who?"}], add_generation_prompt=True)
    assert tokenizer.decode(ids) == "\nQ: Who?\nA: "


def test_texts_by_a_template(tiny_model, tmp_path):
    columns = {"question": [f"What is {c}?" for c in COLOURS * 6], "answer": [f"{c} it is" for c in COLOURS * 6]}
    hyperparams = {"training_args": {**TRAINING, "eval_strategy": "no"}, "lora_config": {"r": 8},
                   "prompt_template": "Question: {question} Answer: {answer}"}  # fmt: skip
    job = make_job(tmp_path / "job", tiny_model("llama-chat"), columns, hyperparams, task="text-generation")
    run = train(job)
    assert run.status == 0, run.last
    assert run.last["metrics"]["token_accuracy"] > 0.5
    assert sorted(path.name for path in run.store(tmp_path / "stored").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "pgml.json",
    ]


def test_rows_that_are_cut_split_or_dropped_are_counted(tiny_model, tmp_path):
    talks = easy_talks()
    talks["user"][0] = "long " * 200
    talks["user"][1] = "long " * 200
    talks = {name: talks[name] for name in ("user", "assistant")}
    base, steps = tiny_model("llama-chat"), {"max_steps": 1}
    short = {"training_args": steps, "max_seq_length": 100}
    run = train(make_job(tmp_path / "cut", base, talks, short))
    assert run.last["metrics"]["truncated_rows"] == 2
    assert "2 of 24 rows are longer than the model takes and were truncated" in messages_of(run)
    run = train(make_job(tmp_path / "dropped", base, talks, {**short, "dataset_args": {"on_overflow": "drop"}}))
    metrics = run.last["metrics"]
    assert (metrics["truncated_rows"], metrics["dropped_rows"]) == (0, 2)
    assert metrics["train_rows"] + metrics["test_rows"] == 22
    run = train(make_job(tmp_path / "refused", base, talks, {**short, "dataset_args": {"on_overflow": "error"}}))
    assert run.status == 1
    assert run.last["error"]["sqlstate"] == "54000"
    assert "more than max_seq_length" in run.last["error"]["message"]


def test_a_classifier_with_lora(tiny_model, tmp_path):
    hyperparams = {
        "training_args": {"learning_rate": 1e-2, "num_train_epochs": 6, "per_device_train_batch_size": 8},
        "lora_config": {"r": 8},
    }
    run = train(make_job(tmp_path / "job", tiny_model("bert"), easy_rows(), hyperparams))
    assert run.status == 0, run.last
    assert run.last["metrics"]["accuracy"] >= 0.9
    assert run.last["metrics"]["trainable_parameters"] < run.last["metrics"]["parameters"]
    stored = run.store(tmp_path / "stored")
    assert sorted(path.name for path in stored.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "pgml.json",
    ]
    assert json.loads((stored / "pgml.json").read_text())["labels"] == ["bad", "good", "late"]
    names = load_file(stored / "adapter_model.safetensors").keys()
    assert any("classifier.weight" in name for name in names)
