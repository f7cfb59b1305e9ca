"""A step of a language model: the mean over all trained tokens, however it is computed."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, EvalPrediction, TrainerCallback, TrainingArguments

from pgml.runtime.tuning import attention, causal_trainer
from pgml.runtime.tuning.causal_trainer import CausalTrainer, summarise
from pgml.runtime.tuning.examples.makers import IGNORED
from pgml.runtime.tuning.examples.packing import collate
from pgml.runtime.tuning.lora import add_adapter

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*gradient_checkpointing. is deprecated"
)  # peft's and transformers' own


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(3)
    ids = [torch.randint(3, 300, (length,), generator=generator).tolist() for length in (40, 9, 25, 3)]
    return [
        {"input_ids": row, "labels": [IGNORED, *row[1:]] if n else [IGNORED] * 30 + row[30:]}
        for n, row in enumerate(ids)
    ]


@pytest.fixture
def step(tiny_model, tmp_path, rows, monkeypatch):
    """Loss and gradients of one optimizer step on all rows."""

    def run(attention_name=attention.NAME, tokens_at_once=2048, adapter=False, **arguments):
        monkeypatch.setattr(causal_trainer, "TOKENS_AT_ONCE", tokens_at_once)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(tiny_model("llama-chat"), attn_implementation=attention_name)
        if adapter:
            model = add_adapter(
                model, {"r": 4, "target_modules": "all-linear", "init_lora_weights": False}, "CAUSAL_LM"
            )
        given = {"per_device_train_batch_size": 4, "max_steps": 1, "learning_rate": 0.0, "max_grad_norm": 0.0}
        given |= {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "train_sampling_strategy": "sequential"}
        trainer = CausalTrainer(
            model=model,
            args=TrainingArguments(output_dir=str(tmp_path), **given | arguments),
            data_collator=collate,
            train_dataset=Dataset.from_list(rows),
        )
        found = {}
        trainer.add_callback(_Gradients(model, found))
        loss = trainer.train().training_loss
        return loss, found

    return run


class _Gradients(TrainerCallback):
    def __init__(self, model, found):
        self._model = model
        self._found = found

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self._found |= {n: p.grad.clone() for n, p in self._model.named_parameters() if p.grad is not None}


def assert_same(one, other):
    assert one[0] == pytest.approx(other[0], rel=1e-4)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "way",
    [
        {"tokens_at_once": 20},
        {"attention_name": "sdpa"},
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4},
        {"activation_checkpointing": True},
    ],
)
def test_a_step_is_the_same_however_it_is_computed(step, way):
    assert_same(step(**way), step())


def test_checkpointing_trains_an_adapter_too(step):
    plain = step(adapter=True)
    assert any("lora_A" in name for name in plain[1])
    assert_same(step(adapter=True, activation_checkpointing=True), plain)


def test_the_loss_is_the_mean_over_trained_tokens(step, rows, tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model("llama-chat"))
    losses = []
    for row in rows:
        logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1].detach()
        labels = torch.tensor(row["labels"][1:])
        losses.append(torch.nn.functional.cross_entropy(logits, labels, reduction="none")[labels != IGNORED])
    assert step()[0] == pytest.approx(float(torch.cat(losses).mean()), rel=1e-5)


def test_an_evaluation_sums_over_all_batches():
    metrics = summarise(EvalPrediction(predictions=[[10.0, 1, 4], [2.0, 2, 2]], label_ids=None))
    assert metrics["loss"] == 2.0
    assert metrics["perplexity"] == pytest.approx(7.389, rel=1e-3)
    assert metrics["token_accuracy"] == 0.5
