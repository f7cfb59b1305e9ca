"""Check all that can be known of a tuning job before its rows are read, and plan it.

A request in, a plan out (docs/protocol.md). All mistakes are reported in one error. Reads no rows and no weights.
"""

from __future__ import annotations

import math
from typing import Any

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED, RuntimeFault
from pgml.runtime.nearest import nearest, quoted_list
from pgml.runtime.tuning.base_model import CAUSAL_TASKS, BaseModel, open_base
from pgml.runtime.tuning.causal_columns import find_causal_columns
from pgml.runtime.tuning.columns import ROLES, Relation, find_columns
from pgml.runtime.tuning.device_args import check_quantization
from pgml.runtime.tuning.hyperparams import Hyperparams, read_hyperparams
from pgml.runtime.tuning.lora_args import choose_lora
from pgml.runtime.tuning.mistakes import Mistakes, shown, type_name
from pgml.runtime.tuning.tokenizer_args import check_tokenizer_args
from pgml.runtime.tuning.training_args import check_training_args
from pgml.runtime.tuning.training_defaults import CLASSIFIER, LANGUAGE_MODEL, Subject

TASKS = (*ROLES, *CAUSAL_TASKS)
ALIASES = {"conversational": "conversation"}
LATER_TASKS = ("question-answering", "summarization", "translation")
SAMPLINGS = ("last", "random", "stratified")
Columns = list[dict[str, str]]


def check_tune(header: dict[str, Any], base_directory: str | None) -> dict[str, Any]:
    """The plan of a job, or one RuntimeFault for all that is wrong. `base_directory` is None if no model is named."""
    mistakes = Mistakes()
    notices: list[str] = []
    warned: list[str] = []
    task = _check_task(header.get("task"), mistakes)
    causal = task in CAUSAL_TASKS
    given = read_hyperparams(header, task, causal=causal, mistakes=mistakes, notices=notices)
    columns, dataset_args = _find_columns(header, task, given, mistakes, notices) if task else ([], {})
    base = _check_base(header, base_directory, task or "text-classification", mistakes)
    lora_config = choose_lora(given.others, base.directory, header.get("full_tuning_limit"), mistakes) if base else None
    width = getattr(base.config.get_text_config(), "hidden_size", None) if base else None
    subject = Subject(LANGUAGE_MODEL if causal else CLASSIFIER, width, adapts=lora_config is not None)
    training_args = check_training_args(given.training_args, subject, mistakes, notices, warned)
    check_quantization(given.others, training_args, warned)
    tokenizer_args = check_tokenizer_args(given.tokenizer_args, base, causal=causal, mistakes=mistakes, notices=notices)
    check_test_size(header["test_size"], mistakes)
    _check_sampling(header["test_sampling"], mistakes)
    if base and lora_config is not None and not mistakes:
        _try_adapter(base, causal, lora_config, mistakes)
    mistakes.raise_if_any()
    hyperparams = {"training_args": training_args, "dataset_args": dataset_args, "tokenizer_args": tokenizer_args}
    # A classifier is tuned whole as a rule, and says nothing of it.
    adapter = {"lora_config": lora_config} if causal or lora_config is not None else {}
    return {
        "task": task,
        "columns": columns,
        "base": base_directory,
        "base_name": (header.get("model") or {}).get("name", base_directory),
        "hyperparams": {**hyperparams, **given.others, **adapter},
        "seed": training_args["seed"],
        "num_features": max(1, len(columns) - 1),
        "notices": notices,
        "warnings": warned,
    }


def _check_task(task: Any, mistakes: Mistakes) -> str | None:
    hint = f"Tasks that can be tuned are: {quoted_list(TASKS)}."
    if task is None:
        mistakes.add("task is not named", hint=hint)
        return None
    if not isinstance(task, str):
        mistakes.add(f"task must be a string, not {type_name(task)}", hint=hint)
        return None
    name = task.strip().lower().replace("_", "-")
    name = ALIASES.get(name, name)
    if name in TASKS:
        return name
    if name in LATER_TASKS:
        mistakes.add(f'task "{task}" cannot be tuned yet', hint=hint, sqlstate=FEATURE_NOT_SUPPORTED)
        return None
    close = nearest(name, [*TASKS, *ALIASES, *LATER_TASKS])
    mistakes.add(f'unknown task "{task}"', hint=f'Perhaps you meant "{close}" for "{task}". {hint}' if close else hint)
    return None


def _find_columns(
    header: dict[str, Any], task: str, given: Hyperparams, mistakes: Mistakes, notices: list[str]
) -> tuple[Columns, dict[str, str]]:
    """The columns by role, and `dataset_args` that name them."""
    relation = Relation.from_request(header["relation"])
    y_column_name = header.get("y_column_name")
    if task in CAUSAL_TASKS:
        if y_column_name is not None:
            notices.append(f"y_column_name is ignored, because dataset_args name the columns of {task}")
        return find_causal_columns(task, relation, given.dataset_args, given.others.get("prompt_template"), mistakes)
    columns = find_columns(task, relation, given.dataset_args, y_column_name, mistakes, notices)
    keys = {role.name: role.key for role in ROLES[task]}
    return columns, {keys[column["role"]]: column["name"] for column in columns}


def _try_adapter(base: BaseModel, causal: bool, lora_config: dict[str, Any], mistakes: Mistakes) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification  # noqa: PLC0415  take a second

    from pgml.runtime.tuning.lora import check_adapter  # noqa: PLC0415  imports torch

    model_class = AutoModelForCausalLM if causal else AutoModelForSequenceClassification
    try:
        check_adapter(base.config, model_class, lora_config, "CAUSAL_LM" if causal else "SEQ_CLS")
    except RuntimeFault as fault:
        mistakes.add(fault.message, hint=fault.hint, sqlstate=fault.sqlstate)


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
