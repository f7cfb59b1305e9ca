"""The tasks that transformers' pipelines do well enough. Results are theirs; arguments are checked before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    pipeline,
)
from transformers.pipelines.base import PipelineException

from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault, last_line
from pgml.runtime.tasks import LoadedModel, Results, TaskSpec
from pgml.runtime.tasks.arguments import (
    ANYTHING,
    BOOLEAN,
    COUNT,
    STRING,
    STRINGS,
    STRINGS_OR_STRING,
    Kind,
    check_arguments,
    one_of,
)
from pgml.runtime.tasks.loading import load_pretrained
from pgml.runtime.tasks.text_classification import max_length

AUTO_CLASSES: dict[str, Any] = {
    "feature-extraction": AutoModel,
    "fill-mask": AutoModelForMaskedLM,
    "token-classification": AutoModelForTokenClassification,
    "zero-shot-classification": AutoModelForSequenceClassification,
}
# Every pipeline takes `batch_size`; inputs are computed one by one here, so that other requests get their turns.
ARGUMENTS: dict[str, dict[str, Kind]] = {
    "feature-extraction": {"batch_size": COUNT, "truncation": ANYTHING},
    "fill-mask": {"batch_size": COUNT, "targets": STRINGS_OR_STRING, "top_k": COUNT},
    "token-classification": {
        "aggregation_strategy": one_of("none", "simple", "first", "average", "max"),
        "batch_size": COUNT,
        "ignore_labels": STRINGS,
        "stride": COUNT,
    },
    "zero-shot-classification": {
        "batch_size": COUNT,
        "candidate_labels": STRINGS_OR_STRING,
        "hypothesis_template": STRING,
        "multi_label": BOOLEAN,
    },
}


def load(directory: str, task: TaskSpec) -> LoadedModel:
    """Read the weights, and put the pipeline around them."""
    # The pooler of an encoder is no part of its features.
    optional = ("pooler.",) if task.name == "feature-extraction" else ()
    model = load_pretrained(AUTO_CLASSES[task.name], directory, task, optional)
    model.tokenizer.model_max_length = max_length(model.tokenizer, model.module.config)
    make: Any = pipeline  # its overloads want the task's name as a literal
    model.extra["pipeline"] = make(task.name, model=model.module, tokenizer=model.tokenizer, device=model.module.device)
    return model


def run(
    model: LoadedModel, inputs: list[Any], args: dict[str, Any], cancelled: Callable[[], bool]
) -> Iterator[Results]:
    """For each input what the pipeline gives for it alone."""
    del cancelled  # a step takes some milliseconds
    task = model.task.name
    check_arguments(args, ARGUMENTS[task], task)
    args = {name: value for name, value in args.items() if name != "batch_size"}
    if task == "feature-extraction":
        args.setdefault("truncation", True)
    if task == "zero-shot-classification" and not args.get("candidate_labels"):
        raise RuntimeFault(
            "zero-shot-classification needs labels to choose from",
            sqlstate=INVALID_PARAMETER_VALUE,
            hint='Pass args => \'{"candidate_labels": ["…", "…"]}\'.',
        )
    for position, value in enumerate(inputs):
        if not isinstance(value, str):
            raise RuntimeFault(f"input for {task} is not a text", sqlstate=INVALID_PARAMETER_VALUE)
        try:
            result = model.extra["pipeline"](value, **args)
        except (TypeError, ValueError, PipelineException) as error:
            # Arguments and texts are all that differs from the calls that work.
            raise RuntimeFault(
                f"{task} does not take these arguments or this input",
                sqlstate=INVALID_PARAMETER_VALUE,
                detail=last_line(error),
            ) from error
        yield [(position, result)]
