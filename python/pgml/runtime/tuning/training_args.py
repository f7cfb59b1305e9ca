"""Check `training_args` and fill in what serves: a JSON object in, arguments of `transformers.TrainingArguments` out.

Every field of TrainingArguments is taken, under present and former names. Knows nothing of rows, models and files.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED
from pgml.runtime.nearest import nearest
from pgml.runtime.tuning.coerce import Unfit, coerce
from pgml.runtime.tuning.mistakes import Mistakes, is_secret, shown
from pgml.runtime.tuning.training_names import IGNORED, OPTIMIZER_PACKAGES, REFUSED, RENAMED, REPLACED

DEFAULTS: dict[str, Any] = {
    "num_train_epochs": 3.0,
    "per_device_train_batch_size": 16,
    "per_device_eval_batch_size": 32,
    "eval_strategy": "epoch",
    "save_total_limit": 1,
    "save_only_model": True,
    "seed": 42,
    "warmup_steps": 0.1,
    "weight_decay": 0.01,
}
METRICS = ("accuracy", "f1", "loss", "precision", "recall")

OWNER = "training_args"
_Rule = tuple[str, Callable[[Any], bool]]
POSITIVE: _Rule = ("above 0", lambda value: value > 0)
NOT_NEGATIVE: _Rule = ("0 or more", lambda value: value >= 0)
AT_LEAST_ONE: _Rule = ("1 or more", lambda value: value >= 1)
SHARE: _Rule = ("at least 0 and below 1", lambda value: 0 <= value < 1)
SEED: _Rule = ("between 0 and 4294967295", lambda value: 0 <= value < 2**32)
RULES: dict[str, _Rule] = {
    "adam_beta1": SHARE,
    "adam_beta2": SHARE,
    "adam_epsilon": POSITIVE,
    "data_seed": SEED,
    "dataloader_num_workers": NOT_NEGATIVE,
    "dataloader_prefetch_factor": AT_LEAST_ONE,
    "eval_accumulation_steps": AT_LEAST_ONE,
    "eval_delay": NOT_NEGATIVE,
    "eval_steps": POSITIVE,
    "gradient_accumulation_steps": AT_LEAST_ONE,
    "label_smoothing_factor": SHARE,
    "learning_rate": NOT_NEGATIVE,
    "logging_steps": POSITIVE,
    "max_grad_norm": NOT_NEGATIVE,
    "max_steps": ("above 0, or -1", lambda value: value > 0 or value == -1),
    "num_train_epochs": POSITIVE,
    "per_device_eval_batch_size": AT_LEAST_ONE,
    "per_device_train_batch_size": AT_LEAST_ONE,
    "save_steps": POSITIVE,
    "save_total_limit": AT_LEAST_ONE,
    "seed": SEED,
    "warmup_steps": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
}


def check_training_args(
    given: dict[str, Any], width: int | None, mistakes: Mistakes, notices: list[str]
) -> dict[str, Any]:
    """The arguments with present names and fitting types, defaults included; what is wrong goes to `mistakes`.

    `width` is the model's hidden size, None if it is not known.
    """
    fields = _fields()
    before = len(mistakes)
    present = _present_names(given, mistakes, notices)
    mistakes.add_unknown(present.keys() - IGNORED.keys(), [*fields, *RENAMED, *REPLACED], OWNER)
    _notice_ignored(present, notices)
    kept = {name: value for name, value in present.items() if name in fields and name not in IGNORED}
    kept = _without_refused(kept, mistakes)
    values = {}
    for name, value in kept.items():
        try:
            values[name] = coerce(value, fields[name])
        except Unfit as unfit:
            message = f'"{name}" in {OWNER} must be {unfit}, not {shown(name, value)}'
            mistakes.add(message, hint=None if is_secret(name) else unfit.hint)
    _check_ranges(values, mistakes)
    _check_optimizer(values, mistakes)
    _check_best_metric(values, mistakes)
    _check_precision(values, mistakes)
    values = with_defaults(values, width)
    if len(mistakes) == before:
        _check_combination(values, mistakes)
    return values


def with_defaults(values: dict[str, Any], width: int | None) -> dict[str, Any]:
    """Add the defaults that serve; the best checkpoint is kept if there is an evaluation to tell it by."""
    values = {**DEFAULTS, "learning_rate": default_learning_rate(width), **values}
    evaluates = values["eval_strategy"]
    values.setdefault("save_strategy", evaluates)
    if evaluates != "no" and values["save_strategy"] in (evaluates, "best"):
        values.setdefault("load_best_model_at_end", True)
    if values.get("load_best_model_at_end") or values["save_strategy"] == "best":
        values["metric_for_best_model"] = values.get("metric_for_best_model") or "f1"
    return values


def default_learning_rate(width: int | None) -> float:
    """The usual 5e-5 for a model as wide as BERT base; a narrow model needs a higher rate to learn as fast.

    >>> default_learning_rate(768), default_learning_rate(384), default_learning_rate(4096), default_learning_rate(32)
    (5e-05, 0.0002, 1e-05, 0.0005)
    """
    rate = 5e-5 * (768 / (width or 768)) ** 2
    return float(f"{min(max(rate, 1e-5), 5e-4):.1e}")


def at_run(values: dict[str, Any], steps: int) -> dict[str, Any]:
    """Add what depends on the number of steps: about 50 log lines a run, and one at least every 10 steps."""
    values = dict(values)
    values.setdefault("logging_steps", max(1, min(10, steps // 50)))
    for strategy, interval in (("eval_strategy", "eval_steps"), ("save_strategy", "save_steps")):
        if values[strategy] == "steps" and values.get(interval) is None:
            values[interval] = values.get("eval_steps") or max(1, steps // 10)
    # The columns of the tokenised rows are ours and all wanted, and a loss that is not a number must be seen.
    return {**values, "report_to": "none", "disable_tqdm": True, "logging_nan_inf_filter": False}


def _fields() -> dict[str, dataclasses.Field[Any]]:
    from transformers import TrainingArguments  # noqa: PLC0415  takes a second, and only those who tune need it

    return {field.name: field for field in dataclasses.fields(TrainingArguments) if field.init}


def _present_names(given: dict[str, Any], mistakes: Mistakes, notices: list[str]) -> dict[str, Any]:
    present: dict[str, Any] = {name: value for name, value in given.items() if name not in (RENAMED | REPLACED)}
    renamed = []
    for former in given.keys() & (RENAMED.keys() | REPLACED.keys()):
        value = given[former]
        if former in RENAMED:
            name = RENAMED[former]
        else:
            name, kind, convert = REPLACED[former]
            try:
                value = convert(coerce(value, _PROBES[kind]))
            except Unfit as unfit:
                mistakes.add(f'"{former}" in {OWNER} must be {unfit}, not {shown(former, value)}')
                continue
            if value is None:
                continue
        if name in present and present[name] != value:
            mistakes.add(f'"{former}" and "{name}" in {OWNER} are the same setting', hint=f'Leave out "{former}".')
            continue
        present[name] = value
        renamed.append(f"{former} is {name}")
    if renamed:
        notices.append(f"{OWNER} under their present names: {', '.join(sorted(renamed))}")
    return present


@dataclasses.dataclass
class _Probe:
    """Fields with the types of former arguments."""

    boolean: bool = False
    ratio: float = 0.0


_PROBES = {field.name: field for field in dataclasses.fields(_Probe)}
# Annotations of this module are strings.
_PROBES["boolean"].type, _PROBES["ratio"].type = bool, float


def _notice_ignored(present: dict[str, Any], notices: list[str]) -> None:
    for reason in dict.fromkeys(IGNORED.values()):
        names = sorted(name for name in present if IGNORED.get(name) == reason)
        if names:
            notices.append(f"{OWNER} without effect, because {reason}: {', '.join(names)}")


def _without_refused(values: dict[str, Any], mistakes: Mistakes) -> dict[str, Any]:
    for reason in dict.fromkeys(REFUSED.values()):
        asked = sorted(n for n, value in values.items() if REFUSED.get(n) == reason and not _is_off(value))
        if asked:
            names = ", ".join(f'"{name}"' for name in asked)
            hint = f"Leave {names} out of {OWNER}."
            mistakes.add(f"cannot use {names} in {OWNER}: {reason}", hint=hint, sqlstate=FEATURE_NOT_SUPPORTED)
    return {name: value for name, value in values.items() if name not in REFUSED}


def _is_off(value: Any) -> bool:
    return not value or (isinstance(value, str) and value.strip().lower() in ("false", "none")) or value == ["none"]


def _check_ranges(values: dict[str, Any], mistakes: Mistakes) -> None:
    for name, (words, fits) in RULES.items():
        value = values.get(name)
        # How long to train is said by one of two settings, and the other does not matter then.
        if value is None or (name == "num_train_epochs" and values.get("max_steps", -1) > 0):
            continue
        if not fits(value):
            mistakes.add(f'"{name}" in {OWNER} must be {words}, not {shown(name, value)}')


def _check_optimizer(values: dict[str, Any], mistakes: Mistakes) -> None:
    optimizer = values.get("optim", "")
    package = next((package for part, package in OPTIMIZER_PACKAGES.items() if part in optimizer), None)
    if package and importlib.util.find_spec(package) is None:
        mistakes.add(
            f'optimizer "{optimizer}" needs the Python package {package}, which is not installed',
            hint='Use "adamw_torch", or install the package for the runtime.',
            sqlstate=FEATURE_NOT_SUPPORTED,
        )


def _check_best_metric(values: dict[str, Any], mistakes: Mistakes) -> None:
    metric = values.get("metric_for_best_model")
    if metric is not None and metric.removeprefix("eval_") not in METRICS:
        close = nearest(metric, METRICS)
        mistakes.add(
            f'"metric_for_best_model" in {OWNER} must be one of {", ".join(METRICS)}, not {shown("", metric)}',
            hint=f'Perhaps you meant "{close}" for "{metric}".' if close else None,
        )


def _check_precision(values: dict[str, Any], mistakes: Mistakes) -> None:
    import torch  # noqa: PLC0415  as above

    half = [name for name in ("bf16", "fp16", "bf16_full_eval", "fp16_full_eval", "tf32") if values.get(name)]
    if not half:
        return
    gpu = torch.cuda.is_available() and not values.get("use_cpu")
    bfloat16 = torch.cuda.is_bf16_supported() if gpu else torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001
    for name in half:
        if (name.startswith("bf16") and not bfloat16) or (not name.startswith("bf16") and not gpu):
            mistakes.add(
                f'cannot use "{name}" in {OWNER}: {"the GPU" if gpu else "the processor"} does not support it',
                hint=f'Leave "{name}" out, to train in single precision.',
                sqlstate=FEATURE_NOT_SUPPORTED,
            )


def _check_combination(values: dict[str, Any], mistakes: Mistakes) -> None:
    """Let TrainingArguments itself refuse what does not go together."""
    from transformers import TrainingArguments  # noqa: PLC0415  as above

    # On the CPU and without tf32, so that asking changes nothing in this process.
    arguments = {**at_run(values, steps=100), "use_cpu": True, "tf32": None}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            TrainingArguments(output_dir="pgml", **arguments)
    except Exception as error:  # noqa: BLE001  it raises whatever the library it asks raises
        mistakes.add(f"{OWNER} are refused by TrainingArguments: {' '.join(str(error).split()).rstrip('.')}")
