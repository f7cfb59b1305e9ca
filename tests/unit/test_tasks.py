"""Names of tasks, task objects and arguments."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.tasks import GENERATION_TASKS, TASKS, TaskSpec, notices, parse_task, task_module, task_of_architecture
from pgml.runtime.tasks.arguments import BOOLEAN, COUNT_OR_NULL, check_arguments, one_of


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("text-classification", "text-classification"),
        ("text_classification", "text-classification"),
        ("Text_Pair-Classification", "text-pair-classification"),
        ("sentiment-analysis", "text-classification"),
        ("ner", "token-classification"),
        ("conversational", "conversation"),
        ("text_generation", "text-generation"),
        ("sentence_similarity", "embedding"),
    ],
)
def test_names_are_read_with_either_dash(name, canonical):
    assert parse_task({"task": name}, None) == (TaskSpec(canonical), {})


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_module_of_the_same_shape(name):
    module = task_module(name)
    assert callable(module.load)
    functions = ("read", "prompt", "result") if name in GENERATION_TASKS else ("run",)
    assert all(callable(getattr(module, function)) for function in functions)


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(RuntimeFault, match='unknown task "text-clasification"') as caught:
        parse_task({"task": "text-clasification"}, None)
    assert caught.value.sqlstate == "22023"
    assert 'Perhaps you meant "text-classification".' in caught.value.hint
    assert all(name in caught.value.hint for name in TASKS)


def test_the_task_of_the_model_is_the_default():
    assert parse_task({}, "fill-mask")[0].name == "fill-mask"
    assert parse_task({"task": None}, "fill-mask")[0].name == "fill-mask"
    assert parse_task({"task": "ner"}, "fill-mask")[0].name == "token-classification"
    with pytest.raises(RuntimeFault, match="task is not named"):
        parse_task({}, None)


def test_languages_in_the_name_are_arguments():
    spec, args = parse_task({"task": "translation_en_to_fr", "max_length": 9}, None)
    assert spec.name == "translation"
    assert args == {"src_lang": "en", "tgt_lang": "fr", "max_length": 9}


def test_keys_that_do_not_say_how_to_load_are_arguments():
    task = {"task": "ner", "model": "x", "aggregation_strategy": "simple", "torch_dtype": "bfloat16", "device": -1}
    assert parse_task(task, None) == (
        TaskSpec("token-classification", "bfloat16", "cpu"),
        {"aggregation_strategy": "simple"},
    )


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"task": 5}, "task must be a string"),
        ({"task": "ner", "dtype": "int8"}, 'invalid value for "dtype"'),
        ({"task": "ner", "device": "toaster"}, 'invalid value for "device"'),
        ({"task": "ner", "trust_remote_code": True}, "trust_remote_code"),
    ],
)
def test_bad_task_objects_are_refused(task, message):
    with pytest.raises(RuntimeFault, match=message):
        parse_task(task, None)


def test_code_of_a_model_may_be_declined_explicitly():
    assert parse_task({"task": "ner", "trust_remote_code": False}, None)[1] == {}


def test_what_was_for_the_hub_is_ignored():
    task = {"task": "ner", "token": "hf_secret", "revision": "main", "trust_remote_code": "false", "stride": 1}
    assert parse_task(task, None) == (TaskSpec("token-classification"), {"stride": 1})


@pytest.mark.parametrize(("value", "count"), [(True, 1), ("true", 1), (False, 0), ("False", 0), (None, 0)])
def test_weights_of_a_few_bits_are_a_notice(value, count):
    task = {"task": "conversation", "load_in_8bit": value}
    spec, arguments = parse_task(task, None)
    assert arguments == {}
    assert len(notices(task, spec)) == count
    assert all("float32" in notice for notice in notices(task, spec))


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("BertForSequenceClassification", "text-classification"),
        ("RobertaForTokenClassification", "token-classification"),
        ("GPT2LMHeadModel", "text-generation"),
        ("LlamaForCausalLM", "text-generation"),
        ("BertForMaskedLM", "fill-mask"),
        ("BertForQuestionAnswering", "question-answering"),
        ("T5ForConditionalGeneration", None),
        ("BertModel", None),
    ],
)
def test_a_class_tells_its_task(architecture, task):
    assert task_of_architecture([architecture]) == task


KINDS = {"top_k": COUNT_OR_NULL, "function_to_apply": one_of("none", "softmax"), "return_all_scores": BOOLEAN}


def test_unknown_arguments_are_told_at_once_with_the_nearest_names():
    with pytest.raises(RuntimeFault) as caught:
        check_arguments({"topk": 1, "function_apply": "none", "top_k": 1}, KINDS, "ner")
    assert caught.value.message == 'unknown arguments "function_apply", "topk" for ner'
    assert 'Perhaps you meant "top_k" for "topk".' in caught.value.hint
    assert "Valid are: function_to_apply, return_all_scores, top_k." in caught.value.hint


def test_unknown_names_and_wrong_values_are_one_error():
    with pytest.raises(RuntimeFault, match='unknown argument "topk" for ner; "top_k" must be a positive integer'):
        check_arguments({"topk": 1, "top_k": 0}, KINDS, "ner")


@pytest.mark.parametrize("value", ["x", 0, -1, 1.5, True])
def test_a_value_of_a_wrong_type_is_told(value):
    with pytest.raises(RuntimeFault, match='"top_k" must be a positive integer or null'):
        check_arguments({"top_k": value}, KINDS, "ner")


def test_valid_arguments_pass():
    check_arguments({"top_k": None, "function_to_apply": "none", "return_all_scores": False}, KINDS, "ner")
    check_arguments({"top_k": 3}, KINDS, "ner")


def test_naming_a_task_imports_nothing_heavy():
    script = "import sys, pgml, pgml.runtime.tasks; print('torch' in sys.modules or 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
