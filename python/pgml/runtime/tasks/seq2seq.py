"""Generate text from text with an encoder-decoder: what summarization and translation share. Knows neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM

from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault, last_line
from pgml.runtime.tasks import LoadedModel, Results, TaskSpec
from pgml.runtime.tasks.arguments import ANYTHING, BOOLEAN, Kind, check_arguments
from pgml.runtime.tasks.batches import padded_tensors, token_batches
from pgml.runtime.tasks.generation import GENERATION_ARGUMENTS, generation_extras
from pgml.runtime.tasks.loading import load_pretrained
from pgml.runtime.tasks.text_classification import encode, prepare_tokenizer

ARGUMENTS: dict[str, Kind] = {**GENERATION_ARGUMENTS, "clean_up_tokenization_spaces": BOOLEAN, "padding": ANYTHING}
BATCH_TOKENS = 1024
"""Tokens of the inputs of a batch: fewer than for encoders, whose steps are shorter, so that others get their turns."""
MAX_NEW_TOKENS = 256
"""Where the model sets no length; transformers would stop after 20 tokens."""
LIBRARY_MAX_LENGTH = 20


def load(directory: str, task: TaskSpec) -> LoadedModel:
    """Read an encoder-decoder."""
    model = load_pretrained(AutoModelForSeq2SeqLM, directory, task)
    prepare_tokenizer(model.tokenizer, model.module)
    return model


def run(
    model: LoadedModel,
    inputs: list[Any],
    args: dict[str, Any],
    cancelled: Callable[[], bool],
    key: str,
    task_key: str,
    valid: dict[str, Kind] = ARGUMENTS,
) -> Iterator[Results]:
    """`{key: text}` per input; `task_key` finds in config.json what the model's makers set for the task."""
    check_arguments(args, valid, model.task.name)
    texts = [_text(value, model.task.name) for value in inputs]
    settings = {**_own_settings(model, task_key), **args}
    prefix = settings.pop("prefix", "")
    clean = settings.pop("clean_up_tokenization_spaces", None)
    tokenizer_args = {"truncation": settings.pop("truncation", True)}
    for name in ("batch_size", "padding"):
        settings.pop(name, None)
    if not settings.keys() & {"max_length", "max_new_tokens"} and _is_without_length(model):
        settings["max_new_tokens"] = MAX_NEW_TOKENS
    encoded = encode(model.tokenizer, [prefix + text for text in texts], None, tokenizer_args)
    for batch in token_batches([len(ids) for ids in encoded["input_ids"]], BATCH_TOKENS):
        outputs = _generate(model, encoded, batch, settings, cancelled)
        words = model.tokenizer.batch_decode(outputs, skip_special_tokens=True, clean_up_tokenization_spaces=clean)
        found = [{key: text} for text in words]
        each = len(found) // len(batch)
        results = found if each == 1 else [found[i : i + each] for i in range(0, len(found), each)]
        yield list(zip(batch, results, strict=True))


@torch.inference_mode()
def _generate(
    model: LoadedModel, encoded: Any, batch: list[int], settings: dict[str, Any], cancelled: Callable[[], bool]
) -> torch.Tensor:
    inputs = padded_tensors(encoded, batch, model.tokenizer, model.module.device)
    inputs.pop("token_type_ids", None)
    try:
        outputs: torch.Tensor = model.module.generate(
            **inputs, **settings, **generation_extras(model, settings, cancelled)
        )
    except (TypeError, ValueError) as error:
        raise RuntimeFault(
            f"{model.task.name} does not take these arguments",
            sqlstate=INVALID_PARAMETER_VALUE,
            detail=last_line(error),
        ) from error
    return outputs


def _own_settings(model: LoadedModel, task_key: str) -> dict[str, Any]:
    """The arguments that config.json holds for a task, such as T5's prefixes."""
    settings = (getattr(model.module.config, "task_specific_params", None) or {}).get(task_key) or {}
    return {name: value for name, value in settings.items() if name in ARGUMENTS}


def _is_without_length(model: LoadedModel) -> bool:
    config = model.module.generation_config
    return config.max_new_tokens is None and config.max_length in (None, LIBRARY_MAX_LENGTH)


def _text(value: Any, task: str) -> str:
    if not isinstance(value, str):
        raise RuntimeFault(f"input for {task} is not a text", sqlstate=INVALID_PARAMETER_VALUE)
    return value
