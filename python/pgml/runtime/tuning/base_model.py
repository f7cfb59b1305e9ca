"""Look at a base model's directory before anything is trained: configuration and tokenizer, never weights.

Knows transformers; knows nothing of requests, rows and tables.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED, RuntimeFault, last_line
from pgml.runtime.reading import reading

CAUSAL_TASKS = ("conversation", "text-generation")


@dataclass(frozen=True)
class BaseModel:
    """What training starts from."""

    directory: str
    config: Any
    tokenizer: Any


def open_base(directory: str, name: str, task: str, *, remote_code: bool = False) -> BaseModel:
    """Configuration and tokenizer of a model that can be tuned, or a fault that says why it cannot."""
    files = {path.name for path in Path(directory).iterdir()} if Path(directory).is_dir() else set()
    if "adapter_config.json" in files and "config.json" not in files:
        raise RuntimeFault(
            f'model "{name}" is an adapter, which cannot be tuned for {task}',
            sqlstate=FEATURE_NOT_SUPPORTED,
            hint="Name its base model instead, or merge it into that first.",
        )
    if not files & {"model.safetensors", "model.safetensors.index.json"}:
        raise RuntimeFault(
            f'model "{name}" has no weights in safetensors format',
            sqlstate=FEATURE_NOT_SUPPORTED,
            hint="Save it with save_pretrained; weights in other formats are never read, because they can hold code.",
        )
    options = reading(remote_code=remote_code)
    config = _load_config(directory, name, options)
    causal = task in CAUSAL_TASKS
    (_check_causal if causal else _check_kind)(config, name, task)
    _check_quantised(config, name, task)
    try:
        from transformers import AutoTokenizer  # noqa: PLC0415  takes a second, and only those who tune need it

        tokenizer = AutoTokenizer.from_pretrained(directory, **options)
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        raise _unreadable(f'could not load the tokenizer of model "{name}"', error) from error
    if causal and not tokenizer.is_fast:
        raise RuntimeFault(
            f'the tokenizer of model "{name}" does not tell where its tokens are in a text',
            sqlstate=FEATURE_NOT_SUPPORTED,
            hint="Use a model that has a tokenizer.json.",
        )
    return BaseModel(directory, config, tokenizer)


def _load_config(directory: str, name: str, options: dict[str, Any]) -> Any:
    from transformers import AutoConfig  # noqa: PLC0415  as above

    try:
        return AutoConfig.from_pretrained(directory, **options)
    except (OSError, ValueError, TypeError, KeyError, ImportError, json.JSONDecodeError) as error:
        raise _unreadable(f'could not load model "{name}"', error) from error


def _unreadable(message: str, error: Exception) -> RuntimeFault:
    return RuntimeFault(message, sqlstate="22023", hint=f"Cause: {last_line(error)}"[:400])


def _check_kind(config: Any, name: str, task: str) -> None:
    from transformers import AutoModelForSequenceClassification as Classifiers  # noqa: PLC0415  as above

    if type(config) not in Classifiers._model_mapping:  # noqa: SLF001  the only way to ask without loading weights
        raise RuntimeFault(
            f'model "{name}" of type {config.model_type} cannot be tuned for {task}',
            sqlstate=FEATURE_NOT_SUPPORTED,
            hint="Use an encoder such as BERT, RoBERTa or DistilBERT, or a decoder such as Llama or Qwen.",
        )


def _check_causal(config: Any, name: str, task: str) -> None:
    from transformers import AutoModelForCausalLM as Causal  # noqa: PLC0415  as above

    classes = _class_names(Causal._model_mapping, config)  # noqa: SLF001  as below
    given = config.architectures
    if not classes or (given and not classes.intersection(given)):
        kind = given[0] if given else config.model_type
        raise RuntimeFault(
            f'model "{name}" ({kind}) is not a causal language model, and cannot be tuned for {task}',
            sqlstate=FEATURE_NOT_SUPPORTED,
            hint="Use a decoder that writes text, such as Llama, Qwen or SmolLM.",
        )


def _class_names(mapping: Any, config: Any) -> set[str]:
    if type(config) not in mapping:
        return set()
    found = mapping[type(config)]
    return {each.__name__ for each in (found if isinstance(found, tuple) else (found,))}


def _check_quantised(config: Any, name: str, task: str) -> None:
    if getattr(config, "quantization_config", None):
        raise RuntimeFault(
            f'model "{name}" is quantised, and cannot be tuned for {task}',
            sqlstate=FEATURE_NOT_SUPPORTED,
            hint="Use the model's weights in full precision.",
        )
