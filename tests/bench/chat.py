"""The measures of conversations, with SmolLM2-135M-Instruct. Each gives rows for the table."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb
from tests.bench.measures import MEGABYTE, rollup
from tests.bench.setting import SMOLLM2, Setting
from tests.bench.table import Row

SESSIONS = 8
TOKENS = 64
STEPS = 8
LORA = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
# As long as questions and answers about a product's documentation: 18 and 63 tokens on average, 110 for one in ten.
CONVERSATIONS = """
CREATE VIEW conversations AS
SELECT id, 'Which project would you recommend to somebody who looks for ' || lower(title) || '?' AS question,
       string_agg(description, ' ') OVER (ORDER BY id ROWS BETWEEN CURRENT ROW AND 2 FOLLOWING) AS answer
FROM projects"""
TUNE = """
SELECT status, model_id, metrics FROM pgml.tune(%s, 'conversation', 'conversations', model_name => %s, test_size => 8,
    test_sampling => 'last', hyperparams => %s)"""
CHAT = "SELECT pgml.transform(%s::jsonb, %s::jsonb, %s::jsonb[])"


def tuning_against_trl(setting: Setting) -> list[Row]:
    """LoRA tuning of conversations against TRL's SFTTrainer with its defaults."""
    prepare(setting)
    rows = setting.database.run("SELECT question, answer FROM conversations ORDER BY id")
    roles = ("user", "assistant")
    conversations = [[{"role": r, "content": text} for r, text in zip(roles, row, strict=True)] for row in rows]
    settings = {"base": str(setting.models / SMOLLM2), "conversations": conversations[:-8], "lora": LORA}
    ours, theirs = [], []
    for number in range(setting.rounds(2)):
        ours.append(tune(setting, f"against TRL {number}")["train_runtime"])
        with tempfile.TemporaryDirectory() as output:
            file = Path(output, "settings.json")
            file.write_text(json.dumps({**settings, "max_steps": STEPS}))
            printed = setting.python("plain_chat_training.py", file, output)
        theirs.append(json.loads(printed.split("RESULT")[1]))
    samples = STEPS * 8
    ratio = statistics.median(t / o for o, t in zip(ours, theirs, strict=True))
    return [
        Row(
            what="chat: LoRA tuning",
            pgml=f"{samples / statistics.median(ours):.2f} rows/s",
            compared=f"{samples / statistics.median(theirs):.2f} rows/s",
            ratio=f"{ratio:.1f} x faster",
            goal=">= 2 x",
            how=f"{STEPS} optimizer steps of 8 conversations of about 18 + 63 tokens, r = 16 on all linear layers of "
            "SmolLM2-135M; against TRL's SFTTrainer with its defaults on the same rows (time of the steps alone)",
        )
    ]


def sessions_at_once(setting: Setting) -> list[Row]:
    """Eight sessions that generate at once against one pipeline call after the other, and the first token."""
    conversations = questions(setting, SESSIONS)
    at_once, one_by_one, first, direct = [], [], [], []
    with ThreadPoolExecutor(SESSIONS) as pool, setting.peer("plain_chat.py", setting.models / SMOLLM2) as plain:
        list(pool.map(lambda c: answer(setting, c, TOKENS), conversations))
        for _ in range(setting.rounds(3)):
            start = time.perf_counter()
            done = list(pool.map(lambda c: answer(setting, c, TOKENS), conversations))
            at_once.append((time.perf_counter() - start) / sum(d["completion_tokens"] for d in done))
            one_by_one.append(plain({"answer": conversations, "tokens": TOKENS}) / (SESSIONS * TOKENS))
        prompt = long_prompt(setting)
        first_row(setting, prompt)
        plain({"first": prompt})
        for _ in range(setting.rounds(7)):
            first.append(first_row(setting, prompt))
            direct.append(plain({"first": prompt}))
    ratio = statistics.median(t / o for o, t in zip(at_once, one_by_one, strict=True))
    return [
        Row(
            what="chat: eight sessions",
            pgml=f"{1 / statistics.median(at_once):.0f} tokens/s",
            compared=f"{1 / statistics.median(one_by_one):.0f} tokens/s",
            ratio=f"{ratio:.1f} x faster",
            goal=">= 3 x",
            how=f"{TOKENS} tokens for each of {SESSIONS} sessions at once, greedy, SmolLM2-135M; against "
            "transformers.pipeline in a warm process, one conversation after the other",
        ),
        Row(
            what="chat: first token",
            pgml=f"{statistics.median(first) * 1000:.0f} ms",
            compared=f"{statistics.median(direct) * 1000:.0f} ms",
            ratio=f"{statistics.median(f / d for f, d in zip(first, direct, strict=True)):.2f} x",
            goal="<= 1.3 x",
            how="the first row of pgml.transform_stream for a prompt of about 100 tokens on an open connection; "
            "against generate() of one token in a warm process",
        ),
    ]


def adapters_on_one_base(setting: Setting) -> list[Row]:
    """Memory of two adapters beside their base, and the size of a stored adapter."""
    prepare(setting)
    models = [tune(setting, f"adapter {number}", max_steps=1)["model_id"] for number in (1, 2)]
    setting.database.run("SELECT pgml.restart_runtime()")
    conversation = questions(setting, 1)[0]
    answer(setting, conversation, 8)
    base = server_memory(setting)
    for number in models:
        answer(setting, conversation, 8, model=f"pgml:{number}")
    both = server_memory(setting)
    sizes = dict(setting.database.run("SELECT path, size FROM pgml.files WHERE part = 0 AND model_id = %s", models[0]))
    weights = sizes["adapter_model.safetensors"]
    loaded = setting.database.value("SELECT sum(bytes)::bigint FROM pgml.loaded_models WHERE base IS NOT NULL")
    return [
        Row(
            what="chat: memory of two adapters",
            pgml=f"{both / MEGABYTE:.0f} MB",
            compared=f"{(base + loaded) / MEGABYTE:.0f} MB",
            ratio=f"{both / (base + loaded):.2f} x",
            goal="<= 1.1 x",
            how=f"the server process after answering with both adapters; against what it had with the base alone "
            f"({base / MEGABYTE:.0f} MB) and the adapters' weights ({loaded / MEGABYTE:.0f} MB)",
        ),
        Row(
            what="chat: adapter in pgml.files",
            pgml=f"{sum(sizes.values()) / MEGABYTE:.2f} MB",
            compared=f"{weights / MEGABYTE:.2f} MB",
            ratio=f"{sum(sizes.values()) / weights:.3f} x",
            goal="<= 1.1 x",
            how="all files of a stored adapter of r = 16; against its safetensors file",
        ),
    ]


def prepare(setting: Setting) -> None:
    if not setting.database.value("SELECT to_regclass('conversations') IS NOT NULL"):
        setting.database.run(CONVERSATIONS)


def tune(setting: Setting, project: str, max_steps: int = STEPS) -> dict[str, Any]:
    training = {"max_steps": max_steps, "per_device_train_batch_size": 8, "eval_strategy": "no", "save_strategy": "no"}
    columns = {"user_column": "question", "assistant_column": "answer"}
    hyperparams = {"training_args": training, "dataset_args": columns, "lora_config": LORA}
    status, model_id, metrics = setting.database.run(TUNE, project, SMOLLM2, Jsonb(hyperparams))[0]
    assert status == "successful"
    return {**metrics, "model_id": model_id}


def questions(setting: Setting, count: int) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": f"Write a long story about {title}."}] for title in setting.titles[:count]]


def long_prompt(setting: Setting) -> list[dict[str, str]]:
    return [{"role": "user", "content": "Summarise: " + ", ".join(setting.titles[:9])}]


def answer(setting: Setting, messages: list[dict[str, str]], tokens: int, model: str = SMOLLM2) -> dict[str, Any]:
    task = {"task": "conversation", "model": model}
    args = {"temperature": 0, "max_tokens": tokens, "details": True}
    given = [Jsonb(task), Jsonb(args), [Jsonb(message) for message in messages]]
    with setting.database.connect() as connection:
        return connection.execute(CHAT, given).fetchone()[0][0]


def first_row(setting: Setting, messages: list[dict[str, str]]) -> float:
    """Seconds from the statement to the first row."""
    query = CHAT.replace("transform", "transform_stream")
    given = [Jsonb({"task": "conversation", "model": SMOLLM2}), Jsonb({"temperature": 0, "max_tokens": 20})]
    with setting.database.connect() as connection, connection.cursor() as cursor:
        connection.execute("SELECT pgml.version()")
        start = time.perf_counter()
        rows = cursor.stream(query, [*given, [Jsonb(message) for message in messages]])
        next(rows)
        taken = time.perf_counter() - start
        for _ in rows:
            pass
    return taken


def server_memory(setting: Setting) -> int:
    return rollup(setting.database.cluster.python_processes("pgml.runtime.serve")[0])[0]
