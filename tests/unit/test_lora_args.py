"""When an adapter is tuned, and what its settings may be."""

from __future__ import annotations

import pytest

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.tuning.arguments.lora_args import count_stored_parameters
from pgml.runtime.tuning.check import check_tune

DEFAULTS = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}


@pytest.fixture
def plan_of(tiny_model):
    def plan(hyperparams, model="llama-chat", columns=("user", "assistant"), task="conversation", **changes):
        header = {
            "project": "talks",
            "task": task,
            "model": {"kind": "directory", "name": "tiny", "path": "/models/tiny"},
            "relation": {"name": "talks", "columns": [{"name": name, "type": "text"} for name in columns]},
            "y_column_name": None,
            "hyperparams": hyperparams,
            "test_size": 0.25,
            "test_sampling": "random",
            "job_directory": "pgml/jobs/5/1",
            **changes,
        }
        return check_tune(header, str(tiny_model(model)))

    return plan


def test_parameters_are_counted_from_the_headers(tiny_model):
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    directory = tiny_model("llama-chat")
    assert count_stored_parameters(str(directory)) == AutoModelForCausalLM.from_pretrained(directory).num_parameters()


@pytest.mark.parametrize(
    ("hyperparams", "limit", "expected"),
    [
        ({}, None, None),
        ({}, 200, None),
        ({}, 0, DEFAULTS),
        ({"lora_config": None}, 0, None),
        ({"lora_config": "false"}, 0, None),
        ({"lora_config": {}}, 200, DEFAULTS),
        ({"lora_config": {"r": 4}}, 200, {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}),
        ({"load_in_8bit": True}, 200, DEFAULTS),
    ],
)
def test_when_an_adapter_is_tuned(plan_of, hyperparams, limit, expected):
    changes = {} if limit is None else {"full_tuning_limit": limit}
    assert plan_of(hyperparams, **changes)["hyperparams"]["lora_config"] == expected


def test_classifiers_are_adapted_too(plan_of):
    columns = {"columns": ("text", "label"), "task": "text-classification", "model": "bert"}
    assert "lora_config" not in plan_of({}, **columns)["hyperparams"]
    assert plan_of({"lora_config": {"r": 2}}, **columns)["hyperparams"]["lora_config"]["r"] == 2
    assert plan_of({}, **columns, full_tuning_limit=0)["hyperparams"]["lora_config"] == DEFAULTS


def test_values_are_taken_as_old_scripts_write_them(plan_of):
    given = {
        "r": "2",
        "lora_alpha": 4,
        "lora_dropout": "0.05",
        "bias": "none",
        "task_type": "CAUSAL_LM",
        "target_modules": ["q_proj", "v_proj"],
        "use_rslora": "true",
        "init_lora_weights": "gaussian",
        "layers_to_transform": [0],
        "rank_pattern": {"q_proj": 4},
    }
    assert plan_of({"lora_config": given})["hyperparams"]["lora_config"] == {
        "r": 2,
        "lora_alpha": 4,
        "lora_dropout": 0.05,
        "bias": "none",
        "target_modules": ["q_proj", "v_proj"],
        "use_rslora": True,
        "init_lora_weights": "gaussian",
        "layers_to_transform": [0],
        "rank_pattern": {"q_proj": 4},
    }


@pytest.mark.parametrize(
    ("config", "message", "hint"),
    [
        ({"rank": 4}, 'unknown key "rank" in lora_config', '"rank_pattern"'),
        ({"lora_alph": 4}, 'unknown key "lora_alph" in lora_config', 'Perhaps you meant "lora_alpha"'),
        ({"r": 0}, '"r" in lora_config must be 1 or more, not 0', None),
        ({"r": "many"}, '"r" in lora_config must be a whole number, not "many"', None),
        ({"lora_dropout": 1}, '"lora_dropout" in lora_config must be at least 0 and below 1, not 1', None),
        ({"bias": "some"}, '"bias" in lora_config must be one of all, lora_only, none', None),
        ({"target_modules": ["nothing_like_that"]}, "lora_config does not fit the model: ", "q_proj"),
        ({"init_lora_weights": "pissa"}, 'cannot use "init_lora_weights": "pissa" in lora_config', "gaussian"),
        ({"init_lora_weights": "random"}, '"init_lora_weights" in lora_config must be true, false', None),
        ({"layer_replication": [[0, 1]]}, 'cannot use "layer_replication" in lora_config', None),
        ([], '"lora_config" in hyperparams must be an object, not array', None),
        ("yes", '"lora_config" in hyperparams must be an object, not string', None),
    ],
)
def test_settings_that_cannot_be_used(plan_of, config, message, hint):
    with pytest.raises(RuntimeFault) as caught:
        plan_of({"lora_config": config or [0]})
    assert caught.value.message.startswith(message)
    if hint:
        assert hint in caught.value.hint


def test_modules_that_are_not_there_are_named_with_those_that_are(plan_of):
    with pytest.raises(RuntimeFault) as caught:
        plan_of({"lora_config": {"target_modules": ["nothing_like_that"]}})
    assert "nothing_like_that" in caught.value.message
    assert "down_proj, gate_proj, k_proj" in caught.value.hint


def test_few_bits_where_there_is_no_gpu_are_warned_of(plan_of):
    plan = plan_of({"load_in_8bit": "true"})
    assert plan["hyperparams"]["load_in_8bit"] is True
    assert len(plan["warnings"]) == 1
    assert plan["warnings"][0].startswith("load_in_8bit cannot be used here, which takes a GPU")
    assert plan_of({"load_in_4bit": "false"})["warnings"] == []


def test_few_bits_cannot_be_trained_whole(plan_of):
    with pytest.raises(RuntimeFault, match="weights in 8 or 4 bits cannot be trained themselves"):
        plan_of({"load_in_4bit": True, "lora_config": None})
