"""The text of a model card: what is the same in each, and how a model is used. Pure."""

from __future__ import annotations

import json
from typing import Any

TEMPLATE = """\
---
{{ card_data }}
---

# {{ title }}

{% if lora %}A LoRA adapter{% if base %} of {{ base }}{% endif %}{% else %}\
A model{% if base %} tuned from {{ base }}{% endif %}{% endif %} for {{ task }},\
 made in PostgreSQL with pgml {{ version }}.

| | |
|---|---|
{% for name, value in rows.items() -%}
| {{ name }} | {{ value }} |
{% endfor %}
{%- if measured %}
## Metrics

On the rows to test on:

| metric | value |
|---|---|
{% for name, value in measured.items() -%}
| {{ name }} | {{ value }} |
{% endfor %}
{%- endif %}
## Use

In PostgreSQL, with pgml:

```sql
{{ sql }}
```

In Python:

```python
{{ python }}
```

## Hyperparameters

```json
{{ hyperparams }}
```
"""

PIPELINES = {"conversation": "text-generation", "text-pair-classification": "text-classification"}
"""The Hub's name of a task, where it is another."""
MESSAGES = [{"role": "user", "content": "…"}]
PAIR = {"text": "…", "text_pair": "…"}


def sql_example(task: str, repository: str) -> str:
    """How it is used from SQL."""
    called = json.dumps({"task": task, "model": repository})
    one = {"conversation": MESSAGES[0], "text-pair-classification": PAIR}.get(task)
    given = "'…'" if one is None else f"'{json.dumps(one, ensure_ascii=False)}'::jsonb"
    return f"SELECT pgml.transform(task => '{called}'::jsonb, inputs => ARRAY[{given}]);"


def python_example(facts: dict[str, Any], repository: str) -> str:
    """How it is used from Python: with transformers alone, an adapter with peft."""
    task = facts["task"]
    pipeline = PIPELINES.get(task, task)
    given = {"conversation": MESSAGES, "text-pair-classification": PAIR}.get(task, "…")
    call = f"model({json.dumps(given, ensure_ascii=False)})"
    if not facts.get("lora"):
        return f'from transformers import pipeline\n\nmodel = pipeline("{pipeline}", model="{repository}")\n{call}'
    kind = "CausalLM" if pipeline == "text-generation" else "SequenceClassification"
    labels = f", num_labels={len(facts['labels'])}" if facts.get("labels") else ""
    return f"""\
from peft import AutoPeftModelFor{kind}
from transformers import AutoTokenizer, pipeline

adapted = AutoPeftModelFor{kind}.from_pretrained("{repository}"{labels})
tokenizer = AutoTokenizer.from_pretrained({json.dumps(facts.get("base_model"))})
model = pipeline("{pipeline}", model=adapted, tokenizer=tokenizer)
{call}"""
