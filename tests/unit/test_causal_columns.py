"""What `check_tune` plans and refuses for conversations and texts."""

from __future__ import annotations

import json

import pytest

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.tuning.check import check_tune

TALKS = {"system": "text", "question": "text", "answer": "text"}


@pytest.fixture
def base(tiny_model):
    return str(tiny_model("llama-chat"))


def request(columns, task="conversation", **changes):
    header = {
        "project": "talks",
        "task": task,
        "model": {"kind": "directory", "name": "tiny", "path": "/models/tiny"},
        "relation": {"name": "talks", "columns": [{"name": n, "type": t} for n, t in columns.items()]},
        "y_column_name": None,
        "hyperparams": {},
        "test_size": 0.25,
        "test_sampling": "stratified",
        "job_directory": "pgml/jobs/5/1",
    }
    return {**header, **changes}


def plan_of(base, columns, task="conversation", **changes):
    return check_tune(request(columns, task, **changes), base)


def roles_of(plan):
    return {column["role"]: column["name"] for column in plan["columns"]}


def fault_of(base, columns, task="conversation", **changes):
    with pytest.raises(RuntimeFault) as caught:
        check_tune(request(columns, task, **changes), base)
    return caught.value


def test_the_plan_of_a_conversation(base):
    plan = plan_of(base, TALKS)
    training_args = plan["hyperparams"].pop("training_args")
    assert plan == {
        "task": "conversation",
        "columns": [
            {"role": "system", "name": "system"},
            {"role": "user", "name": "question"},
            {"role": "assistant", "name": "answer"},
        ],
        "base": base,
        "base_name": "tiny",
        "base_revision": None,
        "adapter": None,
        "checkpoint": None,
        "remote_code": False,
        "push": None,
        "hyperparams": {
            "dataset_args": {
                "system_column": "system",
                "user_column": "question",
                "assistant_column": "answer",
                "on_overflow": "truncate",
            },
            "tokenizer_args": {"max_length": 512},
            "lora_config": None,
        },
        "seed": 42,
        "num_features": 2,
        "notices": [],
        "warnings": [],
    }
    assert training_args["metric_for_best_model"] == "loss"
    json.dumps(plan)


@pytest.mark.parametrize("task", ["conversation", "conversational", "CONVERSATIONAL"])
def test_names_of_the_task(base, task):
    assert plan_of(base, TALKS, task)["task"] == "conversation"


@pytest.mark.parametrize(
    ("columns", "dataset_args", "expected"),
    [
        ({"messages": "jsonb"}, {}, {"messages": "messages"}),
        ({"conversations": "json"}, {}, {"messages": "conversations"}),
        ({"id": "integer", "talk": "text"}, {"messages_column": "talk"}, {"messages": "talk"}),
        ({"assistant": "text"}, {}, {"assistant": "assistant"}),
        ({"instruction": "text", "output": "text"}, {}, {"user": "instruction", "assistant": "output"}),
        ({**TALKS, "messages": "jsonb"}, {"messages_column": "messages"}, {"messages": "messages"}),
        ({"a": "text", "b": "text"}, {"user_column": "a", "assistant_column": "b"}, {"user": "a", "assistant": "b"}),
    ],
)
def test_columns_of_conversations(base, columns, dataset_args, expected):
    assert roles_of(plan_of(base, columns, hyperparams={"dataset_args": dataset_args})) == expected


@pytest.mark.parametrize(
    ("columns", "hyperparams", "expected", "completion"),
    [
        ({"text": "text"}, {}, {"text": "text"}, None),
        ({"body": "text"}, {"dataset_args": {"text_column": "body"}}, {"text": "body"}, None),
        ({"prompt": "text", "completion": "text"}, {}, {"prompt": "prompt", "completion": "completion"}, "completion"),
        (
            {"question": "text", "answer": "text", "n": "integer"},
            {"prompt_template": "{n}. {question}\n{answer}"},
            {"field:n": "n", "field:question": "question", "field:answer": "answer"},
            "answer",
        ),
        (
            {"question": "text", "answer": "text"},
            {
                "prompt_template": "Q {prompt} A {completion}",
                "dataset_args": {"prompt_column": "question", "completion_column": "answer"},
            },
            {"field:question": "question", "field:answer": "answer"},
            "answer",
        ),
    ],
)
def test_columns_of_texts(base, columns, hyperparams, expected, completion):
    plan = plan_of(base, columns, "text_generation", hyperparams=hyperparams)
    assert plan["task"] == "text-generation"
    assert roles_of(plan) == expected
    assert plan["hyperparams"]["dataset_args"].get("completion_column") == completion


@pytest.mark.parametrize(
    ("columns", "task", "hyperparams"),
    [
        (
            TALKS,
            "conversation",
            {"lora_config": {"r": 2}, "prompt_template": "{system} {user} {assistant} {eos_token}"},
        ),
        (TALKS, "text-generation", {"prompt_template": "{question} {answer}", "load_in_8bit": "true"}),
        ({"text": "text"}, "text-generation", {"dataset_args": {"on_overflow": "drop"}, "lora_config": None}),
    ],
)
def test_a_plan_can_be_given_again(base, columns, task, hyperparams):
    plan = plan_of(base, columns, task, hyperparams=hyperparams)
    again = plan_of(base, columns, task, hyperparams=plan["hyperparams"])
    assert (again["hyperparams"], again["columns"]) == (plan["hyperparams"], plan["columns"])


@pytest.mark.parametrize(
    ("columns", "task", "hyperparams", "message"),
    [
        (TALKS, "conversation", {"dataset_args": {"messages_column": "answer", "user_column": "question"}},
         '"messages_column" and "user_column" contradict each other'),
        ({**TALKS, "messages": "jsonb"}, "conversation", {},
         'cannot tell which column of "talks" holds the conversations: messages and answer are both there'),
        ({"x": "text"}, "conversation", {}, 'cannot tell which column of "talks" holds the conversations'),
        (TALKS, "conversation", {"dataset_args": {"assistant_column": "no_such"}},
         'column "no_such" of relation "talks" does not exist'),
        (TALKS, "conversation", {"dataset_args": {"user_column": "answer"}},
         'cannot tell which column of "talks" holds the assistant'),
        (TALKS, "conversation", {"dataset_args": {"user_column": "answer", "assistant_column": "answer"}},
         'column "answer" cannot be both user and assistant'),
        (TALKS, "conversation", {"dataset_args": {"on_overflow": "explode"}},
         '"on_overflow" in dataset_args must be one of truncate, drop, error, not "explode"'),
        (TALKS, "conversation", {"dataset_args": {"text_column": "answer"}},
         'unknown key "text_column" in dataset_args of conversation'),
        ({"messages": "jsonb[]"}, "conversation", {}, 'column "messages" of type jsonb[] cannot hold text'),
        (TALKS, "conversation", {"prompt_template": "{user} {answer}"},
         "2 settings are not valid"),
        (TALKS, "conversation", {"prompt_template": "{user"}, "prompt_template has a brace without its other one"),
        (TALKS, "conversation", {"prompt_template": 7}, "prompt_template must be a string, not 7"),
        (TALKS, "text-generation", {"prompt_template": "{question} {anser}"},
         'column "anser" of relation "talks" does not exist'),
        (TALKS, "text-generation", {"prompt_template": "no name"}, "prompt_template names no column"),
        (TALKS, "text-generation", {"dataset_args": {"text_column": "answer", "prompt_column": "question"}},
         '"text_column" and "prompt_column" contradict each other'),
        (TALKS, "text-generation",
         {"dataset_args": {"completion_column": "system"}, "prompt_template": "{question} {answer}"},
         'prompt_template does not name the column "system"'),
        ({"x": "text"}, "text-generation", {}, 'cannot tell which column of "talks" holds the texts'),
    ],
)  # fmt: skip
def test_what_cannot_be_planned(base, columns, task, hyperparams, message):
    assert fault_of(base, columns, task, hyperparams=hyperparams).message.startswith(message)


@pytest.mark.parametrize("name", ["bert", "bert-masked", "t5", "llama-classifier"])
def test_models_that_write_no_text(tiny_model, name):
    fault = fault_of(str(tiny_model(name)), TALKS)
    assert fault.sqlstate == "0A000"
    assert fault.message.startswith('model "tiny" (')
    assert fault.message.endswith("is not a causal language model, and cannot be tuned for conversation")


def test_the_length_of_examples(base):
    plan = plan_of(base, TALKS, hyperparams={"max_seq_length": 100})
    assert plan["hyperparams"]["tokenizer_args"] == {"max_length": 100}
    plan = plan_of(base, TALKS, hyperparams={"max_seq_length": 4096})
    assert plan["hyperparams"]["tokenizer_args"] == {"max_length": 512}
    assert plan["notices"] == ["max_length is 512, the longest text that the model takes, not 4096"]
