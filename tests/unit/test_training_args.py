"""Every field of TrainingArguments under every name it had: typed, ignored, or refused with a reason."""

from __future__ import annotations

import dataclasses
import warnings

import pytest
import torch
from transformers import TrainingArguments

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.mistakes import Mistakes
from pgml.runtime.tuning.arguments.push_args import NAMES, TOKENS
from pgml.runtime.tuning.arguments.training_args import at_run, check_training_args
from pgml.runtime.tuning.arguments.training_defaults import DEFAULTS, LANGUAGE_MODEL, Subject
from pgml.runtime.tuning.arguments.training_names import IGNORED, REFUSED, RENAMED, REPLACED

FIELDS = {field.name: field for field in dataclasses.fields(TrainingArguments) if field.init}


def check(given, width=384, **subject):
    mistakes, notices = Mistakes(), []
    values = check_training_args(given, Subject(width=width, **subject), mistakes, notices, [])
    mistakes.raise_if_any()
    return values, notices


def fault_of(given):
    with pytest.raises(RuntimeFault) as caught:
        check(given)
    return caught.value


def run_arguments(values, steps=100):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TrainingArguments(output_dir="unused", **at_run({**values, "use_cpu": True}, steps))


def test_defaults_evaluate_each_epoch_and_keep_the_best_checkpoint():
    values, notices = check({})
    assert notices == []
    arguments = run_arguments(values)
    assert (arguments.num_train_epochs, arguments.per_device_train_batch_size, arguments.seed) == (3, 16, 42)
    assert arguments.eval_strategy == arguments.save_strategy == "epoch"
    assert arguments.load_best_model_at_end
    assert (arguments.metric_for_best_model, arguments.greater_is_better) == ("f1", True)
    assert arguments.disable_tqdm
    assert arguments.report_to == []
    assert arguments.logging_nan_inf_filter is False


@pytest.mark.parametrize(("width", "rate"), [(None, 5e-5), (768, 5e-5), (384, 2e-4), (1024, 2.8e-5), (8192, 1e-5)])
def test_the_default_learning_rate_falls_with_the_width_of_the_model(width, rate):
    assert check({}, width)[0]["learning_rate"] == rate
    assert check({"learning_rate": 1e-3}, width)[0]["learning_rate"] == 1e-3


@pytest.mark.parametrize(("steps", "logging_steps"), [(1, 1), (20, 1), (108, 2), (500, 10), (100_000, 10)])
def test_there_are_log_lines_enough_to_see_progress(steps, logging_steps):
    assert run_arguments(check({})[0], steps).logging_steps == logging_steps
    assert run_arguments(check({"logging_steps": 7})[0], steps).logging_steps == 7


def test_a_string_of_the_right_content_is_taken():
    values, _ = check({"learning_rate": "2e-5", "bf16": "false", "num_train_epochs": "2", "max_steps": 10.0})
    assert (values["learning_rate"], values["bf16"], values["num_train_epochs"], values["max_steps"]) == (
        2e-5,
        False,
        2,
        10,
    )
    assert type(values["max_steps"]) is int


@pytest.mark.parametrize("name", sorted(FIELDS.keys() - IGNORED.keys() - REFUSED.keys() - {*NAMES, *TOKENS}))
def test_the_default_of_each_field_is_accepted(name):
    field = FIELDS[name]
    default = field.default if field.default is not dataclasses.MISSING else field.default_factory()
    values, _ = check({name: getattr(default, "value", default)})
    assert RENAMED.get(name, name) in values


def test_every_field_is_passed_ignored_or_refused_and_no_table_names_a_field_twice():
    assert not IGNORED.keys() & REFUSED.keys()
    former = [*RENAMED, *REPLACED]
    assert {*RENAMED.values(), *(name for name, _, _ in REPLACED.values())} <= FIELDS.keys()
    # Fields that TrainingArguments still has under a former name, deprecated.
    assert {name for name in former if name in FIELDS} == {"gradient_checkpointing", "gradient_checkpointing_kwargs"}


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"evaluation_strategy": "steps"}, "eval_strategy", "steps"),
        ({"no_cuda": True}, "use_cpu", True),
        ({"per_gpu_train_batch_size": 4}, "per_device_train_batch_size", 4),
        ({"per_gpu_eval_batch_size": 4}, "per_device_eval_batch_size", 4),
        ({"group_by_length": True}, "train_sampling_strategy", "group_by_length"),
        ({"group_by_length": "true"}, "train_sampling_strategy", "group_by_length"),
        ({"warmup_ratio": 0.06}, "warmup_steps", 0.06),
        ({"adafactor": True}, "optim", "adafactor"),
        ({"gradient_checkpointing": True}, "activation_checkpointing", True),
    ],
)
def test_former_names_are_taken_and_told(given, name, value):
    values, notices = check(given)
    assert values[name] == value
    (former,) = given
    assert notices == [f"training_args under their present names: {former} is {name}"]
    assert former not in values


@pytest.mark.parametrize("given", [{"group_by_length": False}, {"adafactor": False}, {"warmup_ratio": 0}])
def test_former_names_that_say_what_is_done_anyway_are_dropped(given):
    assert check(given) == check({})


def test_former_and_present_name_together():
    fault = fault_of({"evaluation_strategy": "no", "eval_strategy": "epoch"})
    assert fault.message == '"evaluation_strategy" and "eval_strategy" in training_args are the same setting'
    assert check({"evaluation_strategy": "no", "eval_strategy": "no"})[0]["eval_strategy"] == "no"


def test_names_without_effect_are_told_with_the_reason():
    values, notices = check({"output_dir": "/tmp/x", "logging_dir": "x", "fp16_opt_level": "O1", "local_rank": 3})
    assert values == check({})[0]
    because = "training_args without effect, because"
    assert notices == [
        f"{because} transformers dropped them: fp16_opt_level",
        f"{because} a job is one process: local_rank",
        f"{because} the model goes to pgml.files, its logs to pgml.logs: logging_dir, output_dir",
    ]


@pytest.mark.parametrize("name", sorted(IGNORED))
def test_what_is_ignored_never_reaches_the_arguments(name):
    assert name not in check({name: "anything"})[0]


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_refused_says_why_and_is_taken_when_switched_off(name):
    fault = fault_of({name: "hf_verysecrettoken"})
    assert fault.sqlstate == "0A000"
    assert f'"{name}"' in fault.message
    assert REFUSED[name] in fault.message
    assert "verysecret" not in f"{fault.message} {fault.hint} {fault.detail}"
    for off in (None, False, "none", "", [], {}):
        assert name not in check({name: off})[0]


def test_tokens_are_dropped_whatever_else_is_said():
    assert check({"hub_token": "YOUR_HUB_TOKEN", "push_to_hub_token": "hf_other"}) == check({})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"learning_rate": "fast"}, '"learning_rate" in training_args must be a number, not "fast"'),
        ({"learning_rate": True}, "must be a number, not true"),
        ({"learning_rate": "nan"}, 'must be a number, not "nan"'),
        ({"learning_rate": None}, "must be a number, not null"),
        ({"learning_rate": [1]}, "must be a number, not this array"),
        ({"seed": 1.5}, "must be a whole number, not 1.5"),
        ({"seed": -1}, "must be between 0 and 4294967295, not -1"),
        ({"bf16": 1}, "must be true or false, not 1"),
        ({"num_train_epochs": 0}, "must be above 0, not 0"),
        ({"max_steps": 0}, "must be above 0, or -1, not 0"),
        ({"per_device_train_batch_size": 0}, "must be 1 or more, not 0"),
        ({"label_smoothing_factor": 1}, "must be at least 0 and below 1"),
        ({"eval_strategy": "epochs"}, "must be one of no, steps, epoch, not"),
        ({"lr_scheduler_type": 3}, "must be one of linear, cosine"),
        ({"train_sampling_strategy": "longest"}, "must be one of random, sequential"),
        ({"accelerator_config": "/etc/passwd"}, "must be an object or null"),
        ({"optim_target_modules": 3}, "must be an array of strings or a string or null"),
        ({"warmup_ratio": "much"}, '"warmup_ratio" in training_args must be a number'),
        ({"metric_for_best_model": "bleu"}, "must be one of accuracy, f1, loss, precision, recall"),
        ({"dataloader_prefetch_factor": 2}, "refused by TrainingArguments: --dataloader_prefetch_factor can only"),
        ({"load_best_model_at_end": True, "eval_strategy": "no"}, "requires the save and eval strategy to match"),
    ],
)
def test_what_does_not_fit_is_named(given, words):
    fault = fault_of({**given, **({"save_strategy": "epoch"} if "load_best_model_at_end" in given else {})})
    assert fault.sqlstate == "22023"
    assert words in fault.message


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"learning_rat": 1e-5}, 'Perhaps you meant "learning_rate" for "learning_rat".'),
        ({"evaluation_stratgy": "no"}, 'Perhaps you meant "evaluation_strategy" for "evaluation_stratgy".'),
        ({"eval_strategy": "epochs"}, 'Perhaps you meant "epoch" for "epochs".'),
        ({"metric_for_best_model": "acuracy"}, 'Perhaps you meant "accuracy" for "acuracy".'),
    ],
)
def test_the_nearest_name_is_offered(given, hint):
    assert fault_of(given).hint == hint


def test_all_mistakes_come_at_once():
    fault = fault_of({"learning_rat": 1e-5, "seed": "x", "report_to": "wandb"})
    assert fault.message == "3 settings are not valid"
    assert fault.detail.splitlines() == [
        'Unknown key "learning_rat" in training_args.',
        'Cannot use "report_to" in training_args: metrics go to pgml.logs only.',
        '"seed" in training_args must be a whole number, not "x".',
    ]
    assert fault.sqlstate == "22023"
    assert 'Perhaps you meant "learning_rate"' in fault.hint


@pytest.mark.parametrize("name", ["tokn", "hub_tokens", "learning_rat", ""])
def test_values_of_unknown_keys_are_never_shown(name):
    assert "correct horse" not in str(fault_of({name: "correct horse"}).as_frame())


@pytest.mark.parametrize("name", ["learning_rate", "run_name", "optim", "metric_for_best_model"])
def test_a_token_in_the_wrong_place_is_not_shown(name):
    mistakes, notices = Mistakes(), []
    check_training_args({name: "hf_abcdefghijklmnop"}, Subject(), mistakes, notices, [])
    mistakes.add("so that there is one")
    with pytest.raises(RuntimeFault) as caught:
        mistakes.raise_if_any()
    assert "abcdefgh" not in str(caught.value.as_frame()) + str(notices)


def test_evaluation_by_steps_saves_at_the_same_steps():
    arguments = run_arguments(check({"eval_strategy": "steps", "eval_steps": 5})[0])
    assert (arguments.save_strategy, arguments.save_steps, arguments.load_best_model_at_end) == ("steps", 5, True)
    arguments = run_arguments(check({"eval_strategy": "steps"})[0], steps=200)
    assert arguments.eval_steps == arguments.save_steps == 20


def test_without_evaluation_nothing_is_kept_but_the_end():
    arguments = run_arguments(check({"eval_strategy": "no"})[0])
    assert arguments.save_strategy == "no"
    assert not arguments.load_best_model_at_end


def test_max_steps_makes_epochs_meaningless():
    assert check({"max_steps": 5, "num_train_epochs": 0})[0]["max_steps"] == 5


def test_an_optimizer_whose_package_is_missing_is_refused():
    fault = fault_of({"optim": "galore_adamw"})
    assert fault.sqlstate == "0A000"
    assert "needs the Python package galore_torch" in fault.message


@pytest.mark.parametrize("name", ["adamw_bnb_8bit", "paged_adamw_32bit", "adamw_8bit"])
def test_an_optimizer_that_only_saves_memory_is_replaced_with_a_warning(name):
    mistakes, warned = Mistakes(), []
    values = check_training_args({"optim": name}, Subject(), mistakes, [], warned)
    assert not mistakes
    assert values["optim"] == "adamw_torch"
    (message,) = warned
    assert message.startswith(f'optimizer "{name}" needs the Python package bitsandbytes, which is not installed')
    assert message.endswith('"adamw_torch" is used instead')


def test_language_models_are_judged_by_their_loss():
    values, _ = check({}, profile=LANGUAGE_MODEL)
    assert values["metric_for_best_model"] == "loss"
    assert run_arguments(values).greater_is_better is False
    values, _ = check({"metric_for_best_model": "perplexity"}, profile=LANGUAGE_MODEL)
    assert run_arguments(values).greater_is_better is False
    values, _ = check({"metric_for_best_model": "token_accuracy"}, profile=LANGUAGE_MODEL)
    assert run_arguments(values).greater_is_better is True
    mistakes = Mistakes()
    check_training_args({"metric_for_best_model": "f1"}, Subject(LANGUAGE_MODEL), mistakes, [], [])
    assert len(mistakes) == 1


def test_an_adapter_learns_at_a_higher_rate():
    assert check({}, 4096, adapts=True)[0]["learning_rate"] == 2e-4
    assert check({}, 4096)[0]["learning_rate"] == 1e-5
    assert check({"learning_rate": 1e-3}, 4096, adapts=True)[0]["learning_rate"] == 1e-3


@pytest.mark.parametrize(
    ("name", "supported"),
    [("bf16", False), ("bf16_full_eval", False), ("fp16", True), ("fp16", False), ("tf32", False)],
)
def test_a_precision_that_the_device_lacks_is_refused(monkeypatch, name, supported):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    fault = fault_of({name: True})
    assert fault.sqlstate == "0A000"
    assert fault.message == f'cannot use "{name}" in training_args: the processor does not support it'


def test_bf16_is_taken_by_a_processor_that_computes_in_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert check({"bf16": True})[0]["bf16"] is True


def test_checking_changes_nothing_for_the_next_check():
    before = dict(DEFAULTS)
    check({"eval_strategy": "no", "learning_rate": 1})
    assert before == DEFAULTS
