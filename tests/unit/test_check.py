"""What `check_tune` refuses before rows are read, and what it plans."""

from __future__ import annotations

import json

import pytest

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.tuning.check import check_tune

COLUMNS = {"id": "bigint", "body": "text", "stars": "integer"}
NAMED = {"dataset_args": {"text_column": "body", "class_column": "stars"}}


@pytest.fixture
def base(tiny_model):
    return str(tiny_model("bert"))


def request(columns=None, **changes):
    types = COLUMNS if columns is None else columns
    header = {
        "project": "reviews",
        "task": "text-classification",
        "model": {"kind": "directory", "name": "tiny", "path": "/models/tiny"},
        "relation": {"name": "public.reviews", "columns": [{"name": n, "type": t} for n, t in types.items()]},
        "y_column_name": None,
        "hyperparams": NAMED,
        "test_size": 0.25,
        "test_sampling": "stratified",
        "job_directory": "pgml/jobs/5/1",
    }
    return {**header, **changes}


def fault_of(base, columns=None, **changes):
    with pytest.raises(RuntimeFault) as caught:
        check_tune(request(columns, **changes), base)
    return caught.value


def test_the_plan_of_a_good_request(base):
    plan = check_tune(request(), base)
    training_args = plan["hyperparams"].pop("training_args")
    assert plan == {
        "task": "text-classification",
        "columns": [{"role": "text", "name": "body"}, {"role": "label", "name": "stars"}],
        "base": base,
        "hyperparams": {"dataset_args": {"text_column": "body", "class_column": "stars"}, "tokenizer_args": {}},
        "seed": 42,
        "num_features": 1,
        "notices": [],
        "warnings": [],
        "base_name": "tiny",
        "base_revision": None,
        "adapter": None,
        "checkpoint": None,
        "remote_code": False,
        "push": None,
    }
    assert training_args["num_train_epochs"] == 3
    # The tiny model is very narrow.
    assert training_args["learning_rate"] == 5e-4
    json.dumps(plan)


def test_the_plan_of_pairs(base):
    columns = {"sentence1": "text", "sentence2": "text", "label": "boolean"}
    plan = check_tune(request(columns, task="text_pair_classification", hyperparams={}), base)
    assert plan["task"] == "text-pair-classification"
    assert [(column["role"], column["name"]) for column in plan["columns"]] == [
        ("text1", "sentence1"),
        ("text2", "sentence2"),
        ("label", "label"),
    ]
    assert plan["num_features"] == 2


@pytest.mark.parametrize(
    ("columns", "y_column_name", "dataset_args", "expected"),
    [
        ({"text": "text", "class": "text"}, None, {}, ["text", "class"]),
        ({"text": "text", "label": "text"}, None, None, ["text", "label"]),
        ({"text": "text", "class": "text", "label": "text"}, "label", {}, ["text", "label"]),
        ({"text": "text", "topic": "text"}, "topic", {}, ["text", "topic"]),
        ({"text": "text", "body": "text", "topic": "text"}, "topic", {"text_column": "body"}, ["body", "topic"]),
        ({'odd "name"': "text", "Größe": "text"}, "Größe", {"text_column": 'odd "name"'}, ['odd "name"', "Größe"]),
    ],
)
def test_columns_by_name_and_by_habit(base, columns, y_column_name, dataset_args, expected):
    hyperparams = {} if dataset_args is None else {"dataset_args": dataset_args}
    plan = check_tune(request(columns, y_column_name=y_column_name, hyperparams=hyperparams), base)
    assert [column["name"] for column in plan["columns"]] == expected
    assert plan["notices"] == []


def test_class_column_wins_over_y_column_name_and_says_so(base):
    plan = check_tune(request(y_column_name="id"), base)
    assert plan["columns"][1]["name"] == "stars"
    assert plan["notices"] == [
        'y_column_name is ignored, because "class_column" in dataset_args names the column with the labels'
    ]


@pytest.mark.parametrize(
    ("columns", "changes", "sqlstate", "message", "hint"),
    [
        (None, {"hyperparams": {"dataset_args": {**NAMED["dataset_args"], "text_column": "bodi"}}}, "42703",
         'column "bodi" of relation "public.reviews" does not exist', 'Perhaps you meant "body" for "bodi".'),
        (None, {"hyperparams": {"dataset_args": {**NAMED["dataset_args"], "text_column": "zzz"}}}, "42703",
         'column "zzz" of relation "public.reviews" does not exist', "Columns are: id, body, stars."),
        (None, {"hyperparams": {"dataset_args": {"text_column": "body"}}, "y_column_name": "star"}, "42703",
         'column "star" of relation "public.reviews" does not exist', 'Perhaps you meant "stars" for "star".'),
        (None, {"hyperparams": {"dataset_args": {"text_column": "body"}}}, "22023",
         'cannot tell which column of "public.reviews" holds the labels', "id, body, stars"),
        (dict.fromkeys(("text", "class", "label"), "text"), {"hyperparams": {}}, "22023",
         'cannot tell which column of "public.reviews" holds the labels: class and label are both there',
         "class_column"),
        (None, {"hyperparams": {"dataset_args": {"class_column": "stars"}}}, "22023",
         'cannot tell which column of "public.reviews" holds the text', "text_column"),
        (None, {"hyperparams": {"dataset_args": {"text_column": "body", "class_column": "body"}}}, "22023",
         'column "body" cannot be both text and label', None),
        (None, {"hyperparams": {"dataset_args": {**NAMED["dataset_args"], "text_column": 3}}}, "22023",
         '"text_column" in dataset_args must be the name of a column, not 3', None),
        (None, {"hyperparams": {"dataset_args": {**NAMED["dataset_args"], "txt_column": "body"}}}, "22023",
         'unknown key "txt_column" in dataset_args of text-classification',
         'Perhaps you meant "text_column" for "txt_column".'),
        (None, {"hyperparams": {"dataset_args": {**NAMED["dataset_args"], "system_column": "body"}}}, "22023",
         'unknown key "system_column" in dataset_args of text-classification', "text_column"),
    ],
)  # fmt: skip
def test_columns_that_cannot_be_used(base, columns, changes, sqlstate, message, hint):
    fault = fault_of(base, columns, **changes)
    assert (fault.sqlstate, fault.message) == (sqlstate, message)
    if hint is not None:
        assert hint in fault.hint


LABEL_TYPES = [
    "text", "character varying", "character varying(20)", "character(3)", "bpchar", '"char"', "name", "citext",
    "smallint", "integer", "bigint", "boolean", "mood", "myschema.mood", '"My Schema"."Mood (2)"', "public.json",
]  # fmt: skip
REFUSED_LABEL_TYPES = [
    "real", "double precision", "numeric", "numeric(10,2)", "bytea", "json", "jsonb", "text[]", "integer[]",
    "myschema.mood[]", "date", "timestamp without time zone", "timestamp(3) with time zone", "time with time zone",
    "interval", "money", "xml",
]  # fmt: skip


@pytest.mark.parametrize("declared", LABEL_TYPES)
def test_types_that_hold_labels(base, declared):
    assert check_tune(request({**COLUMNS, "stars": declared}), base)["notices"] == []


@pytest.mark.parametrize("declared", REFUSED_LABEL_TYPES)
def test_types_that_hold_no_labels(base, declared):
    fault = fault_of(base, {**COLUMNS, "stars": declared})
    assert fault.message == f'column "stars" of type {declared} cannot hold labels'
    assert "stars::text" in fault.hint
    assert fault.sqlstate == "22023"


@pytest.mark.parametrize("declared", ["integer", "boolean", "jsonb", "bytea", "text[]", "numeric(3,1)"])
def test_types_that_hold_no_text(base, declared):
    assert fault_of(base, {**COLUMNS, "body": declared}).message == f'column "body" of type {declared} cannot hold text'


@pytest.mark.parametrize(
    ("task", "sqlstate", "message"),
    [
        ("text-clasification", "22023", 'unknown task "text-clasification"'),
        (None, "22023", "task is not named"),
        (7, "22023", "task must be a string, not number"),
        ("summarization", "0A000", 'task "summarization" cannot be tuned yet'),
        ("question_answering", "0A000", 'task "question_answering" cannot be tuned yet'),
    ],
)
def test_tasks_that_cannot_be_tuned(base, task, sqlstate, message):
    fault = fault_of(base, task=task)
    assert (fault.sqlstate, fault.message) == (sqlstate, message)
    assert "conversation, text-classification, text-generation, text-pair-classification" in fault.hint


def test_a_misspelt_task_is_offered_the_nearest(base):
    assert fault_of(base, task="text-clasification").hint.startswith('Perhaps you meant "text-classification"')


def test_a_model_must_be_named():
    fault = fault_of(None, model=None)
    assert fault.message == "model_name is not given"
    assert "model_name => " in fault.hint


@pytest.mark.parametrize(
    ("key", "value"),
    [("load_in_8bit", True), ("load_in_4bit", True), ("prompt_template", "{user}")],
)
def test_settings_of_other_tasks_are_refused_with_a_reason(base, key, value):
    fault = fault_of(base, hyperparams={**NAMED, key: value})
    assert fault.sqlstate == "0A000"
    assert fault.message.startswith(f'cannot use "{key}" for text-classification: ')
    check_tune(request(hyperparams={**NAMED, key: None}), base)
    check_tune(request(hyperparams={**NAMED, key: False}), base)


@pytest.mark.parametrize("place", ["token", "hub_token"])
def test_tokens_are_dropped(base, place):
    secret = "correct-horse-battery"
    hyperparams = {**NAMED, "token": secret} if place == "token" else {**NAMED, "training_args": {"hub_token": secret}}
    assert check_tune(request(hyperparams=hyperparams), base) == check_tune(request(), base)


def test_the_revision_of_the_base_is_kept(base):
    plan = check_tune(request(hyperparams={**NAMED, "revision": "v1"}), base)
    assert plan["hyperparams"]["revision"] == "v1"


def test_values_under_wrong_keys_are_never_shown(base):
    hyperparams = {"tokn": "secret1", "training_args": {"hub_tokn": "secret2"}, "tokenizer_args": {"token": "secret3"}}
    frame = str(fault_of(base, hyperparams={**NAMED, **hyperparams}).as_frame())
    assert "secret" not in frame


def test_names_that_old_scripts_repeat_are_taken(base):
    same = {**NAMED, "project_name": "reviews", "model_name": "tiny"}
    plan = check_tune(request(hyperparams=same), base)
    assert plan["notices"] == []
    assert plan["hyperparams"].keys() == {"training_args", "dataset_args", "tokenizer_args"}
    other = check_tune(request(hyperparams={**NAMED, "model_name": "other"}), base)
    assert other["notices"] == [
        '"model_name" in hyperparams is ignored, because the argument model_name says otherwise'
    ]


@pytest.mark.parametrize(
    ("hyperparams", "message"),
    [
        ([], "hyperparams must be an object, not array"),
        ({"training_args": []}, '"training_args" in hyperparams must be an object, not array'),
        ({"trainng_args": {}}, 'unknown key "trainng_args" in hyperparams'),
        ({"tokenizer_args": {"max_lenght": 3}}, 'unknown key "max_lenght" in tokenizer_args'),
        (
            {"tokenizer_args": {"max_length": 0}},
            '"max_length" in tokenizer_args must be a positive whole number, not 0',
        ),
        (
            {"tokenizer_args": {"max_length": True}},
            '"max_length" in tokenizer_args must be a positive whole number, not true',
        ),
        ({"tokenizer_args": {"truncation_side": "up"}}, '"truncation_side" in tokenizer_args must be left or right'),
        ({"tokenizer_args": {"truncation": "first"}}, '"truncation" in tokenizer_args must be true, false or one of'),
        ({"max_seq_length": "long"}, '"max_length" in tokenizer_args must be a positive whole number, not "long"'),
        (
            {"max_seq_length": 5, "tokenizer_args": {"max_length": 6}},
            '"max_seq_length" and "max_length" in tokenizer_args are the same setting',
        ),
    ],
)
def test_hyperparams_of_a_wrong_shape(base, hyperparams, message):
    columns = {"text": "text", "label": "text"}
    assert fault_of(base, columns, hyperparams=hyperparams).message.startswith(message)


def test_tokenizer_args_are_planned(base):
    given = {"max_length": 16, "truncation": True, "padding": "max_length", "add_special_tokens": None}
    plan = check_tune(request(hyperparams={**NAMED, "tokenizer_args": given}), base)
    assert plan["hyperparams"]["tokenizer_args"] == {"max_length": 16, "truncation": True}
    assert plan["notices"] == ["padding in tokenizer_args is without effect: a batch is padded to its longest text"]


def test_max_seq_length_is_the_tokenizers_max_length_and_limited_by_the_model(base):
    plan = check_tune(request(hyperparams={**NAMED, "max_seq_length": 4096}), base)
    assert plan["hyperparams"]["tokenizer_args"] == {"max_length": 4096}
    assert plan["notices"] == ["max_length is 64, the longest text that the model takes, not 4096"]


@pytest.mark.parametrize(
    ("test_size", "message"),
    [
        (0, "test_size must be above 0, not 0"),
        (-0.5, "test_size must be above 0, not -0.5"),
        (1, "test_size 1 leaves no row to train on"),
        (1.5, "test_size above 1 must be a whole number of rows, not 1.5"),
        (None, "test_size must be a number, not null"),
        (True, "test_size must be a number, not true"),
    ],
)
def test_sizes_of_the_test_part(base, test_size, message):
    fault = fault_of(base, test_size=test_size)
    assert (fault.sqlstate, fault.message) == ("22023", message)
    assert "held out" in fault.hint


def test_the_way_of_sampling(base):
    assert "must be one of last, random, stratified" in fault_of(base, test_sampling="first").message


def test_all_mistakes_are_reported_at_once(base):
    fault = fault_of(
        base,
        {**COLUMNS, "stars": "real"},
        hyperparams={
            "dataset_args": {"text_column": "bodi", "class_column": "stars"},
            "training_args": {"learning_rat": 1e-5, "num_train_epochs": "many"},
            "prompt_template": "{text}",
        },
        test_size=0,
    )
    assert fault.message == "6 settings are not valid"
    assert fault.sqlstate == "22023"
    lines = fault.detail.splitlines()
    assert len(lines) == 6
    assert all(line.endswith(".") for line in lines)
    for part in ("learning_rat", "num_train_epochs", "prompt_template", '"bodi"', "type real", "test_size"):
        assert any(part in line for line in lines), part
    assert 'Perhaps you meant "body" for "bodi".' in fault.hint
    assert 'Perhaps you meant "learning_rate" for "learning_rat".' in fault.hint


def test_mistakes_of_one_kind_keep_their_sqlstate(base):
    fault = fault_of(base, hyperparams={"dataset_args": {"text_column": "a1", "class_column": "a2"}})
    assert (fault.message, fault.sqlstate) == ("2 settings are not valid", "42703")


def test_missing_model_and_wrong_settings_come_together():
    fault = fault_of(None, model=None, test_size=0)
    assert fault.detail.splitlines() == ["model_name is not given.", "test_size must be above 0, not 0."]


@pytest.mark.parametrize("name", ["bert", "bert-classifier", "bert-masked", "llama", "llama-classifier"])
def test_models_that_can_be_tuned(tiny_model, name):
    directory = str(tiny_model(name))
    assert check_tune(request(), directory)["base"] == directory


@pytest.mark.parametrize(
    ("prepare", "sqlstate", "message"),
    [
        (lambda d: (d / "model.safetensors").unlink(), "0A000", 'model "tiny" has no weights in safetensors format'),
        (lambda d: (d / "config.json").write_text("{}"), "22023", 'could not load model "tiny"'),
        (
            lambda d: (d / "config.json").write_text('{"model_type": "brandnew"}'),
            "22023",
            'could not load model "tiny"',
        ),
        (lambda d: (d / "config.json").write_text("not json"), "22023", 'could not load model "tiny"'),
        (
            lambda d: (d / "config.json").write_text('{"model_type": "vit"}'),
            "0A000",
            'model "tiny" of type vit cannot be tuned for text-classification',
        ),
        (
            lambda d: (d / "tokenizer.json").unlink(),
            "22023",
            'could not load the tokenizer of model "tiny"',
        ),
        (
            lambda d: (d / "config.json").rename(d / "adapter_config.json"),
            "0A000",
            'model "tiny" is an adapter, which cannot be tuned for text-classification',
        ),
        (
            lambda d: _change_config(d, quantization_config={"quant_method": "gptq", "bits": 4}),
            "0A000",
            'model "tiny" is quantised, and cannot be tuned for text-classification',
        ),
    ],
)
def test_models_that_cannot_be_tuned(tiny_copy, prepare, sqlstate, message):
    prepare(tiny_copy)
    fault = fault_of(str(tiny_copy))
    assert (fault.sqlstate, fault.message) == (sqlstate, message)
    assert fault.hint


def test_a_directory_that_is_not_there(tmp_path):
    assert fault_of(str(tmp_path / "nothing")).message == 'model "tiny" has no weights in safetensors format'


def _change_config(directory, **changes):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
