"""Check all that can be known of a tuning job before its rows are read, and plan it.

A request in, a plan out (docs/reference/protocol.md). All mistakes come in one error. Reads no rows and weights.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED, RuntimeFault
from pgml.runtime.mistakes import Mistakes, shown, type_name
from pgml.runtime.nearest import nearest, quoted_list
from pgml.runtime.tuning.arguments.causal_columns import find_causal_columns
from pgml.runtime.tuning.arguments.columns import ROLES, Relation, find_columns
from pgml.runtime.tuning.arguments.device_args import check_quantization
from pgml.runtime.tuning.arguments.hyperparams import Hyperparams, read_hyperparams
from pgml.runtime.tuning.arguments.lora_args import choose_lora
from pgml.runtime.tuning.arguments.tokenizer_args import check_tokenizer_args
from pgml.runtime.tuning.arguments.training_args import check_training_args
from pgml.runtime.tuning.arguments.training_defaults import CLASSIFIER, LANGUAGE_MODEL, Subject
from pgml.runtime.tuning.base_model import CAUSAL_TASKS, BaseModel, open_base
from pgml.runtime.tuning.earlier import Adapter, keep_lora, keep_tokenizer_args
from pgml.runtime.tuning.push_plan import plan_push
from pgml.runtime.tuning.resuming.wanted_checkpoint import find_checkpoint

if TYPE_CHECKING:
    from pgml.runtime.hub.errands import Errands
    from pgml.runtime.serving.client import Client

TASKS = (*ROLES, *CAUSAL_TASKS)
ALIASES = {"conversational": "conversation"}
LATER_TASKS = ("question-answering", "summarization", "translation")
SAMPLINGS = ("last", "random", "stratified")
Columns = list[dict[str, str]]


def check_tune(
    header: dict[str, Any],
    base_directory: str | None,
    errands: Errands | None = None,
    client: Client | None = None,
) -> dict[str, Any]:
    """The plan of a job, or one RuntimeFault for all that is wrong. `base_directory` is None if no model is named.

    The errands ask the Hub about the pushes of a job that has any, as long as the client waits.
    """
    model = header.get("model") or {}
    mistakes = Mistakes()
    notices: list[str] = []
    warned: list[str] = []
    task = _check_task(header.get("task"), mistakes)
    causal = task in CAUSAL_TASKS
    given = read_hyperparams(header, task, causal=causal, mistakes=mistakes, notices=notices)
    columns, dataset_args = _find_columns(header, task, given, mistakes, notices) if task else ([], {})
    base = _check_base(header, base_directory, task or "text-classification", mistakes)
    earlier = Adapter.of(header)
    checkpoint = _keep_settings(given, earlier.path if earlier else base_directory, task, mistakes, notices)
    lora_config = _find_lora(header, given, base, earlier, causal, mistakes)
    subject = _subject(base, causal=causal, adapts=lora_config is not None)
    training_args = check_training_args(given.training_args, subject, mistakes, notices, warned)
    check_quantization(given.others, training_args, warned)
    tokenizer_args = check_tokenizer_args(given.tokenizer_args, base, causal=causal, mistakes=mistakes, notices=notices)
    push = plan_push(training_args, header, errands, client, mistakes, notices)
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
        "base_name": model.get("name", base_directory),
        "base_revision": model.get("commit"),
        "adapter": earlier.path if earlier else None,
        "checkpoint": str(checkpoint) if checkpoint else None,
        "remote_code": bool(model.get("remote_code")),
        "hyperparams": {**hyperparams, **given.others, **adapter},
        "seed": training_args["seed"],
        "num_features": max(1, len(columns) - 1),
        "push": push,
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


def _keep_settings(
    given: Hyperparams, directory: str | None, task: str | None, mistakes: Mistakes, notices: list[str]
) -> Path | None:
    """Complete what is given by what the model of a directory was tuned with; the checkpoint that is gone on from."""
    given.tokenizer_args = keep_tokenizer_args(given.tokenizer_args, directory, task)
    path, given.training_args = find_checkpoint(given.training_args, directory, task, mistakes, notices)
    return path


def _subject(base: BaseModel | None, *, causal: bool, adapts: bool) -> Subject:
    width = getattr(base.config.get_text_config(), "hidden_size", None) if base else None
    return Subject(LANGUAGE_MODEL if causal else CLASSIFIER, width, adapts)


def _find_lora(
    header: dict[str, Any],
    given: Hyperparams,
    base: BaseModel | None,
    earlier: Adapter | None,
    causal: bool,
    mistakes: Mistakes,
) -> dict[str, Any] | None:
    if base is None:
        return None
    if earlier is not None:
        return keep_lora(given.others, earlier, causal=causal, mistakes=mistakes)
    return choose_lora(given.others, base.directory, header.get("full_tuning_limit"), mistakes)


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
        model = header.get("model") or {}
        return open_base(directory, model.get("name", directory), task, remote_code=bool(model.get("remote_code")))
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
