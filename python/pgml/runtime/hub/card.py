"""The model card: README.md of a repository, which says what a model is, how it was made and how to use it.

Made of what the registry knows of a model. The data itself is never in it, nor a secret. Asks no Hub.
"""

from __future__ import annotations

import json
import re
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from pgml.runtime.hub.card_text import PIPELINES, TEMPLATE, python_example, sql_example
from pgml.runtime.redaction import redact_value

METRICS = ("accuracy", "f1", "precision", "recall", "perplexity", "token_accuracy", "loss")
MOST_LABELS = 100
HUB_NAME = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")


def model_card(card: dict[str, Any], repository: str) -> str:
    """README.md for a repository; `card` is what docs/reference/protocol.md says of pushes."""
    facts: dict[str, Any] = redact_value(card)
    metrics = facts.get("metrics") or {}
    measured = {name: metrics[name] for name in METRICS if isinstance(metrics.get(name), (int, float))}
    return str(
        ModelCard.from_template(
            _head(facts, repository, measured),
            template_str=TEMPLATE,
            title=repository.rpartition("/")[2],
            lora=bool(facts.get("lora")),
            task=facts["task"],
            base=_code(facts.get("base_model")),
            version=facts.get("pgml_version") or "",
            rows=_rows(facts),
            measured={name: f"{value:.4g}" for name, value in measured.items()},
            sql=sql_example(facts["task"], repository),
            python=python_example(facts, repository),
            hyperparams=json.dumps(facts.get("hyperparams") or {}, indent=2, ensure_ascii=False),
        )
    )


def _head(facts: dict[str, Any], repository: str, measured: dict[str, float]) -> ModelCardData:
    task, lora, base = facts["task"], bool(facts.get("lora")), facts.get("base_model") or ""
    pipeline = PIPELINES.get(task, task)
    # The Hub refuses a card whose base is none of its models.
    on_hub = bool(facts.get("base_revision") or HUB_NAME.fullmatch(base))
    results = [
        EvalResult(
            task_type=pipeline,
            dataset_type="postgresql",
            dataset_name=facts.get("relation") or facts["project"],
            dataset_split="test",
            metric_type=name,
            metric_value=value,
        )
        for name, value in measured.items()
    ]
    return ModelCardData(
        base_model=base if on_hub else None,
        base_model_relation=("adapter" if lora else "finetune") if on_hub else None,
        library_name="peft" if lora else "transformers",
        pipeline_tag=pipeline,
        tags=["pgml", *(["lora"] if lora else []), *(["conversational"] if task == "conversation" else [])],
        metrics=list(measured) or None,
        model_name=repository.rpartition("/")[2] if results else None,
        eval_results=results or None,
    )


def _rows(facts: dict[str, Any]) -> dict[str, str]:
    """The lines of the table of how the model was made."""
    size, labels = facts.get("test_size"), facts.get("labels")
    split = f"{facts.get('test_sampling')}, {size:g}, seed {facts.get('seed')}" if size is not None else None
    shown = ", ".join(map(_code, labels[:MOST_LABELS])) if labels else None
    if labels and len(labels) > MOST_LABELS:
        shown = f"{shown} and {len(labels) - MOST_LABELS} more"
    lines = {
        "project": _code(facts["project"]),
        "base model": _code(facts.get("base_model")),
        "revision of the base": _code(facts.get("base_revision")),
        "relation": _code(facts.get("relation")),
        "rows to train on": facts.get("train_rows"),
        "rows to test on": facts.get("test_rows"),
        "test part": split,
        "sha256 of rows and split": _code(facts.get("digest")),
        "labels": shown,
    }
    return {name: str(value) for name, value in lines.items() if value}


def _code(text: Any) -> str:
    """A text as code within a cell of a table; it cannot end either."""
    return "`" + " ".join(str(text).replace("`", "'").split()).replace("|", "\\|") + "`" if text else ""
