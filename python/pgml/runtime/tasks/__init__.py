"""The tasks that models serve, one module each, all of the same shape. Importing this package imports none of them.

A task module has two functions and knows nothing of sockets, requests and tables:

    load(directory: str, task: TaskSpec) -> LoadedModel
        Read tokenizer and weights from a directory.

    run(model: LoadedModel, inputs: list, args: dict, cancelled: Callable[[], bool]) -> Iterator[Results]
        A generator. Each step computes about one micro-batch and yields what it finished, as (position, result) pairs,
        until every input has its result. The engine decides whose step comes next, so a short request is served between
        the steps of a long one. Inputs are never null and never empty; `cancelled` is for steps that take seconds.

To add a task, copy the smallest module (`translation.py`) and name it in TASKS.

The tasks that write text token by token (GENERATION_TASKS) are computed together, by `pgml.runtime.generation`. Their
modules have, instead of `run`:

    read(inputs: list, arguments: dict) -> (items, whether they are one)
        Check the inputs; each item is one prompt, and null for null.

    prompt(model: LoadedModel, item, settings: Settings) -> Prompt
        The tokens of an item, and what limits its answer.

    result(answers: list, item, arguments: dict) -> Any
        The result of an item.

    attach(directory: str, task: TaskSpec, base: LoadedModel) -> LoadedModel
        Read an adapter onto its base.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED, INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.nearest import nearest, quoted_list

TASKS = {
    "conversation": "conversation",
    "embedding": "embedding",
    "feature-extraction": "pipelines",
    "fill-mask": "pipelines",
    "question-answering": "question_answering",
    "summarization": "summarization",
    "text-classification": "text_classification",
    "text-generation": "text_generation",
    "text-pair-classification": "text_classification",
    "token-classification": "pipelines",
    "translation": "translation",
    "zero-shot-classification": "pipelines",
}
GENERATION_TASKS = frozenset({"conversation", "text-generation"})
ALIASES = {
    "conversational": "conversation",
    "ner": "token-classification",
    "sentence-similarity": "embedding",
    "sentiment-analysis": "text-classification",
}
TRANSLATION = re.compile(r"translation-([a-z]+)-to-([a-z]+)")
"""Translation with the languages in its name, as in `translation_en_to_fr`."""
ARCHITECTURES = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
}
"""What a directory is for, by how the class in its config.json ends. A seq2seq model does not tell."""

LOADING_KEYS = ("device", "dtype", "load_in_4bit", "load_in_8bit", "model", "task", "torch_dtype")
"""Keys of a task object that say how to load the model. All others are arguments of the task."""

IGNORED_KEYS = ("revision", "token", "trust_remote_code", "use_auth_token")
"""Keys that say how the Hub is asked, which was done."""

QUANTISED = ("load_in_4bit", "load_in_8bit")

Results = list[tuple[int, Any]]


@dataclass(frozen=True)
class TaskSpec:
    """A task as a model is loaded for it."""

    name: str
    dtype: str = "float32"
    device: str | None = None
    remote_code: bool = False


@dataclass
class LoadedModel:
    """What `load` returns. `extra` holds what only the task's module knows of."""

    module: Any
    tokenizer: Any
    task: TaskSpec
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Memory of parameters and buffers."""
        tensors = [*self.module.parameters(), *self.module.buffers()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def task_module(name: str) -> ModuleType:
    """The module of a task whose name was checked."""
    return importlib.import_module(f"{__name__}.{TASKS[name]}")


def parse_task(
    task: dict[str, Any], default: str | None, *, remote_code: bool = False
) -> tuple[TaskSpec, dict[str, Any]]:
    """Split a task object into how to load the model and default arguments.

    `default` is the model's own task; `remote_code` says whether code that comes with the model may be run.
    """
    name = task.get("task") or default
    if name is None:
        raise RuntimeFault(
            "task is not named, and cannot be told from the model",
            sqlstate=INVALID_PARAMETER_VALUE,
            hint=f"Name one of: {quoted_list(TASKS)}.",
        )
    if not isinstance(name, str):
        raise RuntimeFault("task must be a string", sqlstate=INVALID_PARAMETER_VALUE)
    if _is_set(task.get("trust_remote_code")) and not remote_code:
        raise RuntimeFault(
            'task sets "trust_remote_code", which is not allowed',
            sqlstate=FEATURE_NOT_SUPPORTED,
            detail="Code that comes with a model is run only where an administrator trusts its repository on the Hub.",
            hint="Ask an administrator to add the repository to pgml.trust_remote_code.",
        )
    arguments = {key: value for key, value in task.items() if key not in (*LOADING_KEYS, *IGNORED_KEYS)}
    canonical = _canonical_name(name)
    if match := TRANSLATION.fullmatch(canonical):
        canonical = "translation"
        arguments = {"src_lang": match[1], "tgt_lang": match[2], **arguments}
    return TaskSpec(canonical, _dtype(task), _device(task), remote_code), arguments


def notices(task: dict[str, Any], spec: TaskSpec) -> list[str]:
    """What of a task object is done otherwise."""
    wanted = [key for key in QUANTISED if _is_set(task.get(key))]
    return [f'model is used in {spec.dtype}: "{key}" needs a library that is for GPUs only' for key in wanted]


def task_of_architecture(architectures: list[str]) -> str | None:
    """The task of a model class, if its name tells."""
    for architecture in architectures:
        for ending, task in ARCHITECTURES.items():
            if architecture.endswith(ending):
                return task
    return None


def _is_set(value: Any) -> bool:
    """Whether a switch is on, which old clients write as a text."""
    return value not in (None, False, 0) and str(value).strip().lower() not in ("false", "0", "")


def _canonical_name(name: str) -> str:
    canonical = name.strip().lower().replace("_", "-")
    canonical = ALIASES.get(canonical, canonical)
    if canonical not in TASKS and not TRANSLATION.fullmatch(canonical):
        close = nearest(canonical, [*TASKS, *ALIASES])
        raise RuntimeFault(
            f'unknown task "{name}"',
            sqlstate=INVALID_PARAMETER_VALUE,
            hint=(f'Perhaps you meant "{close}". ' if close else "") + f"Tasks are: {quoted_list(TASKS)}.",
        )
    return canonical


def _dtype(task: dict[str, Any]) -> str:
    dtype = task.get("dtype", task.get("torch_dtype")) or "float32"
    if dtype not in ("bfloat16", "float16", "float32"):
        raise RuntimeFault(
            f'invalid value for "dtype": {dtype!r}',
            sqlstate=INVALID_PARAMETER_VALUE,
            hint="Use one of: bfloat16, float16, float32.",
        )
    return str(dtype)


def _device(task: dict[str, Any]) -> str | None:
    device = task.get("device")
    if device is None or device == "auto":
        return None
    # The numbers are what pipelines took: -1 is the CPU, others are GPUs.
    if isinstance(device, int) and not isinstance(device, bool):
        return "cpu" if device < 0 else f"cuda:{device}"
    if not isinstance(device, str) or not re.fullmatch(r"cpu|cuda(:\d+)?|mps", device):
        raise RuntimeFault(
            f'invalid value for "device": {device!r}',
            sqlstate=INVALID_PARAMETER_VALUE,
            hint='Use "cpu" or "cuda:0", or leave it out.',
        )
    return device
