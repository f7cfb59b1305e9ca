"""Check `training_args` and fill in what serves: a JSON object in, arguments of `transformers.TrainingArguments` out.

Every field of TrainingArguments is taken, under present and former names. Knows nothing of rows, models and files.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED
from pgml.runtime.mistakes import Mistakes, shown
from pgml.runtime.nearest import nearest
from pgml.runtime.redaction import is_secret_key
from pgml.runtime.tuning.arguments.coerce import Unfit, coerce
from pgml.runtime.tuning.arguments.device_args import check_optimizer, check_precision
from pgml.runtime.tuning.arguments.push_args import NAMES as OF_PUSHING
from pgml.runtime.tuning.arguments.push_args import notice_without_checkpoints, take_push_args
from pgml.runtime.tuning.arguments.training_defaults import Profile, Subject, with_defaults
from pgml.runtime.tuning.arguments.training_names import IGNORED, REFUSED, RENAMED, REPLACED

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
    given: dict[str, Any], subject: Subject, mistakes: Mistakes, notices: list[str], warned: list[str]
) -> dict[str, Any]:
    """The arguments with present names and fitting types, defaults included; what is wrong goes to `mistakes`."""
    fields = _fields()
    before = len(mistakes)
    others, pushing = take_push_args(given, fields, mistakes, notices)
    present = _present_names(others, mistakes, notices)
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
            mistakes.add(message, hint=None if is_secret_key(name) else unfit.hint)
    _check_ranges(values, mistakes)
    check_optimizer(values, mistakes, warned)
    _check_best_metric(values, subject.profile, mistakes)
    check_precision(values, mistakes)
    values = {**with_defaults(values, subject), **pushing}
    notice_without_checkpoints(values, given, notices)
    if len(mistakes) == before:
        _check_combination(values, mistakes)
    return values


def at_run(values: dict[str, Any], steps: int) -> dict[str, Any]:
    """Add what depends on the number of steps: about 50 log lines a run, and one at least every 10 steps."""
    values = {name: value for name, value in values.items() if name not in OF_PUSHING}
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


def _check_best_metric(values: dict[str, Any], profile: Profile, mistakes: Mistakes) -> None:
    metric = values.get("metric_for_best_model")
    valid = profile.all_metrics
    if metric is not None and metric.removeprefix("eval_") not in valid:
        close = nearest(metric, valid)
        mistakes.add(
            f'"metric_for_best_model" in {OWNER} must be one of {", ".join(valid)}, not {shown("", metric)}',
            hint=f'Perhaps you meant "{close}" for "{metric}".' if close else None,
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
