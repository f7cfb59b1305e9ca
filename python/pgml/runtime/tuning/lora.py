"""Add low-rank adapters to a model, and save them. Knows peft; knows nothing of rows and of a job's files."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch

from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault

HEADS = ("classifier", "score")
"""What peft takes for the head of a classifier."""


def add_adapter(model: Any, settings: dict[str, Any], task_type: str) -> Any:
    """The model with an adapter, which alone is trained; its weights are kept in single precision."""
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415  takes seconds, and not every job adapts

    config = LoraConfig(**_without_whole_layers(model, settings, task_type), task_type=task_type)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return get_peft_model(model, config)
    except ValueError as error:
        raise _refused(model, settings, error) from error


def _without_whole_layers(model: Any, settings: dict[str, Any], task_type: str) -> dict[str, Any]:
    """The settings with the layers left out of "all-linear" that peft trains whole: it matches those by their end."""
    excluded = settings.get("exclude_modules") or []
    if task_type != "SEQ_CLS" or isinstance(excluded, str):
        return settings
    whole = (*HEADS, *(settings.get("modules_to_save") or ()))
    linear = (name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear))
    return {**settings, "exclude_modules": [*excluded, *(name for name in linear if name.endswith(whole))] or None}


def load_adapter(model: Any, path: str) -> Any:
    """The model with an adapter that was trained before, as above."""
    from peft import PeftModel  # noqa: PLC0415  as above

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", "Found missing adapter keys")  # else it would begin with random weights
        return PeftModel.from_pretrained(model, path, is_trainable=True)


def check_adapter(config: Any, model_class: Any, settings: dict[str, Any], task_type: str) -> None:
    """Refuse settings that do not fit a model, without its weights."""
    with torch.device("meta"):
        model = model_class.from_config(config)
    add_adapter(model, settings, task_type)


def _refused(model: Any, settings: dict[str, Any], error: ValueError) -> RuntimeFault:
    linear = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    return RuntimeFault(
        f"lora_config does not fit the model: {_brief(error)}",
        sqlstate=INVALID_PARAMETER_VALUE,
        hint=f'Its linear layers are: {", ".join(sorted(linear))}. "all-linear" stands for all but the last.'
        if "target_modules" in settings
        else None,
    )


def _brief(error: ValueError) -> str:
    return str(error).splitlines()[0].split(". ")[0].rstrip(".")


@torch.no_grad()
def round_adapter(model: Any) -> None:
    """Round what was trained to the precision it is stored in, so that what is measured is what is stored."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.copy_(parameter.bfloat16())


def save_adapter(model: Any, directory: Path, base_name: str, base_revision: str | None = None) -> None:
    """Write an adapter as it is kept: rounded, in half the bytes."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()
    write_adapter(model, directory, base_name, base_revision)


def write_adapter(model: Any, directory: Path, base_name: str, base_revision: str | None) -> None:
    """Write adapter_config.json and adapter_model.safetensors."""
    model.save_pretrained(directory, save_embedding_layers=False)
    (directory / "README.md").unlink(missing_ok=True)  # a card for the Hub, with nothing in it
    name_base(directory, base_name, base_revision)


def name_base(directory: Path, base_name: str, base_revision: str | None) -> None:
    """Have adapter_config.json say the name that the base is found by later, not a path of this job."""
    path = directory / "adapter_config.json"
    config = json.loads(path.read_text())
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()  # else in another order each time
    path.write_text(json.dumps({**config, "base_model_name_or_path": base_name, "revision": base_revision}))


def count_parameters(model: Any) -> dict[str, int]:
    """How many parameters the model has with its adapter, and how many of them are trained."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {
        "trainable_parameters": sum(size for size, trained in sizes if trained),
        "parameters": sum(size for size, _ in sizes),
    }
