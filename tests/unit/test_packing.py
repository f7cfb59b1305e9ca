"""Packed examples do not see each other, and a packed step is the step of the examples apart."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, MambaConfig, MambaForCausalLM, MistralConfig, MistralForCausalLM

from pgml.runtime.tuning import attention
from pgml.runtime.tuning.attention import NAME, packed
from pgml.runtime.tuning.examples.makers import IGNORED
from pgml.runtime.tuning.examples.packing import collate, computes_the_same, cut, lengths_of, trained_logits


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(1)
    lengths = (7, 1, 30, 12, 2)
    ids = [torch.randint(3, 300, (length,), generator=generator).tolist() for length in lengths]
    return [{"input_ids": row, "labels": [IGNORED if n % 3 == 0 else t for n, t in enumerate(row)]} for row in ids]


@pytest.fixture
def model(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model("llama-chat")).eval()


def mistral(window):
    torch.manual_seed(1)
    config = MistralConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=window,
    )
    return MistralForCausalLM(config).eval()


def apart(model, rows):
    logits, targets = [], []
    for row in rows:
        output = model(input_ids=torch.tensor([row["input_ids"]])).logits[0]
        wanted = [n for n, label in enumerate(row["labels"][1:]) if label != IGNORED]
        logits.append(output[wanted])
        targets += [row["labels"][n + 1] for n in wanted]
    return torch.cat(logits), targets


def test_a_batch_is_one_row_whose_positions_start_anew(rows):
    batch = collate(rows)
    assert batch["input_ids"].shape == batch["position_ids"].shape == (1, 52)
    assert lengths_of(batch["position_ids"]) == [7, 1, 30, 12, 2]
    assert batch["position_ids"][0, 6:10].tolist() == [6, 0, 0, 1]
    # No last token of an example predicts the first of the next.
    assert all(batch["shift_labels"][0, end - 1] == IGNORED for end in (7, 8, 38, 50, 52))


def test_a_batch_is_cut_between_examples(rows):
    batch = collate(rows)
    pieces = list(cut(batch, 20))
    assert [lengths_of(piece["position_ids"]) for piece in pieces] == [[7, 1], [30], [12, 2]]
    assert torch.equal(torch.cat([piece["shift_labels"] for piece in pieces], dim=1), batch["shift_labels"])
    assert [lengths_of(piece["position_ids"]) for piece in cut(batch, 1)] == [[7], [1], [30], [12], [2]]


@pytest.mark.parametrize("name", [NAME, "sdpa"])
def test_packed_logits_are_those_of_the_examples_apart(model, rows, name):
    expected, targets = apart(model, rows)
    model.set_attn_implementation(name)
    logits, found = trained_logits(model, collate(rows))
    assert found.tolist() == targets
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_one_example_does_not_change_another(model, rows):
    model.set_attn_implementation(NAME)
    first, _ = trained_logits(model, collate(rows))
    other = [{**rows[0], "input_ids": [5] * 7}, *rows[1:]]
    second, _ = trained_logits(model, collate(other))
    trained_in_first = sum(label != IGNORED for label in rows[0]["labels"][1:])
    assert not torch.allclose(first[:trained_in_first], second[:trained_in_first])
    torch.testing.assert_close(first[trained_in_first:], second[trained_in_first:])


def test_gradients_are_those_of_the_examples_apart(model, rows):
    def gradients(logits, targets):
        model.zero_grad()
        torch.nn.functional.cross_entropy(logits, torch.as_tensor(targets), reduction="sum").backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    expected = gradients(*apart(model, rows))
    model.set_attn_implementation(NAME)
    for one, other in zip(gradients(*trained_logits(model, collate(rows))), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("short", [0, 512])
@pytest.mark.parametrize("window", [None, 8])
def test_grouped_heads_and_windows_are_kept(rows, window, short, monkeypatch):
    monkeypatch.setattr(attention, "SHORT", short)
    model = mistral(window)
    expected, _ = apart(model, rows)
    assert computes_the_same(model)
    model.set_attn_implementation(NAME)
    logits, _ = trained_logits(model, collate(rows))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_a_model_that_mixes_packed_examples_is_found_out():
    torch.manual_seed(1)
    config = MambaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2, state_size=4)
    assert not computes_the_same(MambaForCausalLM(config))


def test_in_half_precision_the_same_is_nearly_the_same(tiny_model):
    assert computes_the_same(AutoModelForCausalLM.from_pretrained(tiny_model("llama-chat"), dtype=torch.bfloat16))


def test_trying_it_out_leaves_the_model_as_it_was(model):
    before = model.config._attn_implementation
    assert computes_the_same(model)
    assert model.config._attn_implementation == before
    assert packed.lengths is None


def test_generation_is_not_changed(model):
    prompt = {"input_ids": torch.tensor([[5, 6, 7]]), "attention_mask": torch.ones(1, 3)}
    settings = {"max_new_tokens": 8, "do_sample": False}
    before = model.generate(**prompt, **settings)
    model.set_attn_implementation(NAME)
    assert torch.equal(model.generate(**prompt, **settings), before)
