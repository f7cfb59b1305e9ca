"""Read a model and its tokenizer from a directory: local files and safetensors only, never a random head.

Knows transformers; knows nothing of what the model is used for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED, INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.generation.adapters import merged
from pgml.runtime.reading import reading
from pgml.runtime.serving.directories import read_json
from pgml.runtime.tasks import LoadedModel, TaskSpec

HEADS = ("classifier.", "pre_classifier.", "score.", "pooler.", "bert.pooler.", "classification_head.")
"""Weights that an adapter brings along where its base has none."""


def default_device() -> str:
    """Where models go unless the task says otherwise."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_pretrained(
    auto_class: Any, directory: str, task: TaskSpec, optional: tuple[str, ...] = (), **settings: Any
) -> LoadedModel:
    """Load weights as they are used for inference; weights that the directory lacks are an error unless `optional`.

    `settings` replace what the configuration says.
    """
    options = reading(remote_code=task.remote_code)
    tokenizer = AutoTokenizer.from_pretrained(directory, **options)
    try:
        module, info = auto_class.from_pretrained(
            directory,
            **options,
            **settings,
            use_safetensors=True,
            dtype=getattr(torch, task.dtype),
            output_loading_info=True,
        )
    except ValueError as error:
        if "trust_remote_code" in str(error):
            raise RuntimeFault(
                "it needs code of its own to be run",
                sqlstate=FEATURE_NOT_SUPPORTED,
                detail="Code of a model is run only where an administrator trusts its repository on the Hub.",
            ) from error
        if "Unrecognized configuration class" not in str(error):
            raise
        raise RuntimeFault(
            f"it cannot be used for {task.name}",
            sqlstate=INVALID_PARAMETER_VALUE,
            detail=f'It is a model of type "{read_json(Path(directory, "config.json"), directory).get("model_type")}".',
        ) from error
    missing = sorted(key for key in info["missing_keys"] if not key.startswith(optional))
    mismatched = [key for key, *_ in info["mismatched_keys"] if not key.startswith(optional)]
    if missing or mismatched:
        raise RuntimeFault(
            f"it has no weights for {task.name}",
            sqlstate=INVALID_PARAMETER_VALUE,
            detail=f"Its files lack {', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}.",
            hint="Tune it for the task first, with pgml.tune, or use a model that was.",
        )
    return LoadedModel(module.eval().to(task.device or default_device()), tokenizer, task)


def load_merged(auto_class: Any, base: str, adapter: str, task: TaskSpec, labels: list[str] | None) -> LoadedModel:
    """Load a base for classification by the given labels, with an adapter that becomes a part of it."""
    names: dict[str, Any] = {}
    if labels is not None:
        names["id2label"] = dict(enumerate(labels))
        names["label2id"] = {label: number for number, label in enumerate(labels)}
    model = load_pretrained(auto_class, base, task, optional=HEADS, ignore_mismatched_sizes=True, **names)
    model.module = merged(model.module, adapter)
    return model
