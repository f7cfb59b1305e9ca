"""The page of the hyperparams: which ones pgml.tune takes, as its own code says. What they mean is in meanings.toml."""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from peft import LoraConfig
from tools.reference.markdown import code, table
from transformers import TrainingArguments

from pgml.runtime.tasks.text_classification import TOKENIZER_ARGS
from pgml.runtime.tuning.arguments import causal_columns as causal
from pgml.runtime.tuning.arguments import columns, hyperparams, lora_args, push_args, training_args, training_defaults
from pgml.runtime.tuning.arguments import training_names as names

MEANINGS = tomllib.loads(Path(__file__).with_name("meanings.toml").read_text())
RATES = [(384, "all-MiniLM-L6-v2"), (768, "distilbert, BERT base"), (1024, "BERT large"), (4096, "Llama 2 7B")]
COMPUTED = {
    "learning_rate": "by width",
    "logging_steps": "about 50 rows a run, at least every 10 steps",
    "save_strategy": "as `eval_strategy`",
    "load_best_model_at_end": "true, if it is evaluated",
    "metric_for_best_model": "`f1` or `loss`",
}
"""Defaults that pgml.tune makes of the other arguments."""

TEMPLATE = Path(__file__).with_name("hyperparams.md").read_text()


def page() -> str:
    """The text of the page."""
    top = (*hyperparams.OBJECTS, *hyperparams.OTHERS, *hyperparams.SWITCHES, "token")
    lora, lora_others = _lora()
    rate_of = (training_defaults.default_learning_rate, training_defaults.adapter_learning_rate)
    rates = [[str(width), name, *(f"{rate(width):g}" for rate in rate_of)] for width, name in RATES]
    former = {**names.RENAMED, **{old: new for old, (new, *_) in names.REPLACED.items()}}
    former |= dict.fromkeys((push_args.MODEL_ID, push_args.ORGANISATION), "hub_model_id")
    former[push_args.TOKENS[1]] = push_args.TOKENS[0]
    return TEMPLATE.format(
        top=table(["key", "means"], _with_meaning("top", top)),
        dataset_args=table(["task", "key", "column of", "guessed by"], _columns()),
        training_args=table(["key", "type", "default", "means"], _training_args()),
        rates=table(["width", "such as", "all weights", "adapter"], rates),
        hub=table(["key", "default", "means"], _hub()),
        former=table(["former", "now"], [[code(old), code(new)] for old, new in sorted(former.items())]),
        ignored=table(["because", "keys"], _by_reason(names.IGNORED)),
        refused=table(["because", "keys"], _by_reason(names.REFUSED)),
        tokenizer_args=table(["key", "means"], _with_meaning("tokenizer", TOKENIZER_ARGS)),
        lora_config=table(["key", "default", "means"], lora),
        lora_others=" ".join(map(code, lora_others)),
        lora_ignored=" ".join(map(code, sorted(lora_args.IGNORED))),
        lora_refused=table(["because", "keys"], _by_reason(lora_args.REFUSED)),
    )


def _with_meaning(section: str, keys: Iterable[str]) -> list[list[str]]:
    """In the order of the meanings; every key has one, and every meaning its key."""
    about = MEANINGS[section]
    if set(keys) != about.keys():
        raise ValueError(f"meanings.toml and the code differ in {section}: {sorted(set(keys) ^ about.keys())}")
    return [[code(key), meaning] for key, meaning in about.items()]


def _columns() -> list[list[str]]:
    tasks = {task: list(roles) for task, roles in columns.ROLES.items()}
    tasks["conversation"] = [causal.MESSAGES, *causal.TURNS]
    tasks["text-generation"] = [causal.TEXT, causal.PROMPT, causal.COMPLETION]
    _with_meaning("columns", {*(role.key for roles in tasks.values() for role in roles), causal.ON_OVERFLOW})
    return [
        [
            f"**{task}**" if role is roles[0] else "",
            code(role.key),
            MEANINGS["columns"][role.key],
            ", ".join(map(code, role.defaults)),
        ]
        for task, roles in tasks.items()
        for role in roles
    ]


def _training_args() -> list[list[str]]:
    fields = {field.name: field for field in dataclasses.fields(TrainingArguments) if field.init}
    taken = fields.keys() - {*names.IGNORED, *names.REFUSED, *push_args.NAMES, *push_args.TOKENS}
    rows = _with_meaning("training", taken)
    return [[key, _kind(fields[key.strip("`")]), _default(fields[key.strip("`")]), text] for key, text in rows]


def _kind(field: dataclasses.Field[Any]) -> str:
    rule = training_args.RULES.get(field.name)
    parts = [part for part in (typing.get_args(field.type) or (field.type,)) if part is not type(None)]
    enums = [part for part in parts if isinstance(part, type) and issubclass(part, Enum)]
    choices = [str(member.value) for enum in enums for member in enum]
    if 0 < len(choices) <= 6:
        return ", ".join(map(code, choices))
    words = dict.fromkeys("text" if part in enums else _word(part) for part in parts)
    return " or ".join(words) + (f", {rule[0]}" if rule else "")


def _word(kind: Any) -> str:
    known = {bool: "boolean", int: "integer", float: "number", str: "text", dict: "object", list: "array"}
    return known[typing.get_origin(kind) or kind]


def _default(field: dataclasses.Field[Any]) -> str:
    if field.name in COMPUTED:
        return f"**{COMPUTED[field.name]}**"
    if field.name in training_defaults.CLASSIFIER.defaults:
        classifier, language = training_defaults.CLASSIFIER.defaults, training_defaults.LANGUAGE_MODEL.defaults
        return f"**{classifier[field.name]}**, generated text **{language[field.name]}**"
    own = training_defaults.DEFAULTS.get(field.name, field.default)
    return _shown(own) if own == field.default else f"**{_shown(own)}**"


def _shown(value: Any) -> str:
    if value is None or value is dataclasses.MISSING:
        return ""
    if isinstance(value, Enum):
        return str(value.value)
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _hub() -> list[list[str]]:
    rows = _with_meaning("hub", [*push_args.NAMES, push_args.TOKENS[0]])
    return [[key, _shown(push_args.DEFAULTS.get(key.strip("`"))), meaning] for key, meaning in rows]


def _by_reason(reasons: Mapping[str, str]) -> list[list[str]]:
    return [
        [reason, " ".join(code(name) for name in sorted(reasons) if reasons[name] == reason)]
        for reason in dict.fromkeys(reasons.values())
    ]


def _lora() -> tuple[list[list[str]], list[str]]:
    """The keys that people use, and the names of the others."""
    fields = {field.name: field for field in dataclasses.fields(LoraConfig)}
    taken = [name for name in fields if name not in lora_args.IGNORED and name not in lora_args.REFUSED]
    rows = []
    for name, meaning in MEANINGS["lora"].items():
        own = lora_args.DEFAULTS.get(name)
        rule = lora_args.RULES.get(name)
        default = _shown(fields[name].default) if own is None else f"**{own}**"
        rows.append([code(name), default, meaning + (f"; {rule[0]}" if rule else "")])
    return rows, [name for name in taken if name not in MEANINGS["lora"]]
