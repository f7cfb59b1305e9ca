"""Check all that can be known of a tuning job before its rows are read, and plan it.

A request in, a plan out (docs/protocol.md). All mistakes are reported in one error. Reads no rows and no weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED, RuntimeFault
from pgml.runtime.nearest import nearest, quoted_list
from pgml.runtime.tuning.base_model import BaseModel, open_base
from pgml.runtime.tuning.columns import ROLES, Relation, find_columns
from pgml.runtime.tuning.mistakes import Mistakes, is_secret, shown, type_name
from pgml.runtime.tuning.training_args import check_training_args

OBJECTS = ("dataset_args", "tokenizer_args", "training_args")
HYPERPARAMS = (*OBJECTS, "max_seq_length", "model_name", "project_name")
LATER_TASKS = (
    "conversation",
    "conversational",
    "question-answering",
    "summarization",
    "text-generation",
    "translation",
)
SAMPLINGS = ("last", "random", "stratified")
NOT_FOR_CLASSIFICATION = {
    "lora_config": "all weights are trained",
    "load_in_8bit": "all weights are trained, in single precision",
    "load_in_4bit": "all weights are trained, in single precision",
    "prompt_template": "texts are used as they are",
}
TRUNCATIONS = ("do_not_truncate", "longest_first", "only_first", "only_second")


def check_tune(header: dict[str, Any], base_directory: str | None) -> dict[str, Any]:
    """The plan of a job, or one RuntimeFault for all that is wrong. `base_directory` is None if no model is named."""
    mistakes = Mistakes()
    notices: list[str] = []
    task = _check_task(header.get("task"), mistakes)
    hyperparams = _check_hyperparams(header, task, mistakes, notices)
    columns = []
    if task is not None:
        relation = Relation.from_request(header["relation"])
        columns = find_columns(
            task, relation, hyperparams["dataset_args"], header.get("y_column_name"), mistakes, notices
        )
    base = _check_base(header, base_directory, task or "text-classification", mistakes)
    width = getattr(base.config.get_text_config(), "hidden_size", None) if base else None
    training_args = check_training_args(hyperparams["training_args"], width, mistakes, notices)
    tokenizer_args = _check_tokenizer_args(hyperparams["tokenizer_args"], base, mistakes, notices)
    check_test_size(header["test_size"], mistakes)
    _check_sampling(header["test_sampling"], mistakes)
    mistakes.raise_if_any()
    return {
        "task": task,
        "columns": columns,
        "base": base_directory,
        "hyperparams": {
            "training_args": training_args,
            "dataset_args": {role.key: column["name"] for role, column in zip(ROLES[str(task)], columns, strict=True)},
            "tokenizer_args": tokenizer_args,
        },
        "seed": training_args["seed"],
        "num_features": len(columns) - 1,
        "notices": notices,
    }


def _check_task(task: Any, mistakes: Mistakes) -> str | None:
    hint = f"Tasks that can be tuned are: {quoted_list(ROLES)}."
    if task is None:
        mistakes.add("task is not named", hint=hint)
        return None
    if not isinstance(task, str):
        mistakes.add(f"task must be a string, not {type_name(task)}", hint=hint)
        return None
    name = task.strip().lower().replace("_", "-")
    if name in ROLES:
        return name
    if name in LATER_TASKS:
        mistakes.add(f'task "{task}" cannot be tuned yet', hint=hint, sqlstate=FEATURE_NOT_SUPPORTED)
        return None
    close = nearest(name, [*ROLES, *LATER_TASKS])
    mistakes.add(f'unknown task "{task}"', hint=f'Perhaps you meant "{close}" for "{task}". {hint}' if close else hint)
    return None


def _check_hyperparams(
    header: dict[str, Any], task: str | None, mistakes: Mistakes, notices: list[str]
) -> dict[str, dict[str, Any]]:
    """The three objects of hyperparams; `max_seq_length` becomes the tokenizer's `max_length`."""
    given = header.get("hyperparams")
    given = {} if given is None else given
    if not isinstance(given, dict):
        mistakes.add(f"hyperparams must be an object, not {type_name(given)}")
        given = {}
    mistakes.add_unknown(given.keys() - {"token"} - NOT_FOR_CLASSIFICATION.keys(), HYPERPARAMS, "hyperparams")
    _refuse(given, task, mistakes)
    _compare_names(given, header, notices)
    objects: dict[str, dict[str, Any]] = {}
    for key in OBJECTS:
        value = given.get(key)
        if value is not None and not isinstance(value, dict):
            mistakes.add(f'"{key}" in hyperparams must be an object, not {type_name(value)}')
        objects[key] = dict(value) if isinstance(value, dict) else {}
    if given.get("max_seq_length") is not None:
        if objects["tokenizer_args"].get("max_length") not in (None, given["max_seq_length"]):
            mistakes.add('"max_seq_length" and "max_length" in tokenizer_args are the same setting')
        objects["tokenizer_args"]["max_length"] = given["max_seq_length"]
    return objects


def _refuse(given: dict[str, Any], task: str | None, mistakes: Mistakes) -> None:
    if given.get("token"):
        mistakes.add(
            'cannot use "token" in hyperparams: models are not fetched from the Hub yet',
            hint='Leave "token" out; it is not stored.',
            sqlstate=FEATURE_NOT_SUPPORTED,
        )
    for key, reason in NOT_FOR_CLASSIFICATION.items():
        if task is not None and given.get(key):
            mistakes.add(
                f'cannot use "{key}" for {task}: {reason}',
                hint=f'Leave "{key}" out of hyperparams.',
                sqlstate=FEATURE_NOT_SUPPORTED,
            )


def _compare_names(given: dict[str, Any], header: dict[str, Any], notices: list[str]) -> None:
    model = (header.get("model") or {}).get("name")
    for key, argument in (("model_name", model), ("project_name", header.get("project"))):
        if argument is not None and given.get(key) not in (None, argument):
            notices.append(f'"{key}" in hyperparams is ignored, because the argument {key} says otherwise')


def _check_base(header: dict[str, Any], directory: str | None, task: str, mistakes: Mistakes) -> BaseModel | None:
    if directory is None:
        mistakes.add(
            "model_name is not given", hint="Name the model to start from: model_name => '/srv/models/minilm'."
        )
        return None
    try:
        return open_base(directory, (header.get("model") or {}).get("name", directory), task)
    except RuntimeFault as fault:
        mistakes.add(fault.message, hint=fault.hint, sqlstate=fault.sqlstate)
        return None


def _check_tokenizer_args(
    given: dict[str, Any], base: BaseModel | None, mistakes: Mistakes, notices: list[str]
) -> dict[str, Any]:
    from pgml.runtime.tasks.text_classification import (  # noqa: PLC0415  imports transformers
        TOKENIZER_ARGS,
        TRUNCATION_SIDES,
        max_length,
    )

    mistakes.add_unknown(given, TOKENIZER_ARGS, "tokenizer_args")
    expected: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "add_special_tokens": ("true or false", lambda value: isinstance(value, bool)),
        "max_length": ("a positive whole number", lambda value: type(value) is int and value > 0),
        "padding": ("true, false or a string", lambda value: isinstance(value, (bool, str))),
        "truncation": (
            f"true, false or one of {', '.join(TRUNCATIONS)}",
            lambda v: isinstance(v, bool) or v in TRUNCATIONS,
        ),
        "truncation_side": (" or ".join(TRUNCATION_SIDES), lambda value: value in TRUNCATION_SIDES),
    }
    given = {key: value for key, value in given.items() if value is not None}
    wrong = [key for key, (_, fits) in expected.items() if key in given and not fits(given[key])]
    for key in wrong:
        mistakes.add(f'"{key}" in tokenizer_args must be {expected[key][0]}, not {shown(key, given[key])}')
    if given.pop("padding", None) not in (None, True, "longest"):
        notices.append("padding in tokenizer_args is without effect: a batch is padded to its longest text")
    if base is not None and "max_length" in given and "max_length" not in wrong:
        limit = max_length(base.tokenizer, base.config)
        if given["max_length"] > limit:
            notices.append(f"max_length is {limit}, the longest text that the model takes, not {given['max_length']}")
    return {key: value for key, value in given.items() if not is_secret(key)}


def check_test_size(test_size: Any, mistakes: Mistakes) -> None:
    """Refuse what is neither a share nor a number of rows."""
    hint = "test_size is the part held out for testing: 0.25 for a quarter of the rows, 100 for 100 rows."
    if isinstance(test_size, bool) or not isinstance(test_size, (int, float)) or not math.isfinite(test_size):
        mistakes.add(f"test_size must be a number, not {shown('test_size', test_size)}", hint=hint)
    elif test_size <= 0:
        mistakes.add(f"test_size must be above 0, not {test_size:g}", hint=hint)
    elif test_size == 1:
        mistakes.add("test_size 1 leaves no row to train on", hint=hint)
    elif test_size > 1 and not float(test_size).is_integer():
        mistakes.add(f"test_size above 1 must be a whole number of rows, not {test_size:g}", hint=hint)


def _check_sampling(sampling: Any, mistakes: Mistakes) -> None:
    if sampling not in SAMPLINGS:
        mistakes.add(f"test_sampling must be one of {', '.join(SAMPLINGS)}, not {shown('test_sampling', sampling)}")
