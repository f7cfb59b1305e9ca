"""Databases as PostgresML 2.10.0 leaves them, models in them included. Knows nothing of what becomes of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from psycopg import sql
from tests.cluster import Cluster, Database
from tests.integration.hub_database import on_base
from tests.relocated import Installation
from tests.unit.adapters import make_adapter
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
)

ASSETS = Path(__file__).parents[1] / "assets" / "postgresml"
TEXTS = ["wonderful film, a joy", "terrible waste, no sense", "The box was broken.", "a joy, a waste", "Größe 中文"]
CLASSES = ["хорошо 👍", "плохо"]  # in the order of a set: any
PART = 5_000_000  # PostgresML's are of 100,000,000 bytes


def install_postgresml(installation: Installation) -> None:
    """Put the files of PostgresML there, instead of those of pgml."""
    installation.remove_extension()
    for file in ("pgml.control", "pgml--2.10.0.sql"):
        shutil.copy(ASSETS / file, installation.extensions)


def make_database(cluster: Cluster, name: str) -> Database:
    """A database with PostgresML in it, and what it has after some years but for the files of language models."""
    database = empty_database(cluster, name)
    database.run("CREATE EXTENSION pgml VERSION '2.10.0'")
    database.run_script(ASSETS / "rows.sql", ASSETS)
    return database


def empty_database(cluster: Cluster, name: str) -> Database:
    with cluster.connect() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return Database(cluster, name)


def store(database: Database, model_id: int, directory: Path) -> None:
    """Store the files of a directory as PostgresML does: by name, in parts, all of them."""
    with database.connect() as connection:
        for path in (path for path in directory.iterdir() if path.is_file()):
            data = path.read_bytes()
            for part, start in enumerate(range(0, len(data), PART)):
                connection.execute(
                    "INSERT INTO pgml.files (model_id, path, part, data) VALUES (%s, %s, %s, %s)",
                    [model_id, path.name, part, data[start : start + PART]],
                )


@contextmanager
def tuned_models(models: Path) -> Iterator[dict[str, Path]]:
    """A classifier and two adapters of llama-chat, tuned with transformers and peft, as their directories."""
    with tempfile.TemporaryDirectory() as home:
        made = {name: Path(home, name) for name in ("classifier", "adapter", "templated")}
        _tune_classifier(models, made["classifier"])
        base = models / "llama-chat"
        for seed, name in enumerate(("adapter", "templated")):
            make_adapter(base, made[name], seed)
            on_base(base.name)(made[name])  # as it was called
            # The transformers of that time had the chat template in tokenizer_config.json.
            AutoTokenizer.from_pretrained(base).save_pretrained(made[name], save_jinja_files=False)
        for directory in made.values():
            torch.save({"hub_token": "hf_0123456789abcdef"}, directory / "training_args.bin")
            (directory / "README.md").write_text("# A card")
        yield made


def labels(directory: Path) -> list[str]:
    """What transformers says to the texts."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    with torch.inference_mode():
        logits = model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits
    return [model.config.id2label[number] for number in logits.argmax(-1).tolist()]


def answer(base: Path, adapter: Path, prompt: str, tokens: int) -> str:
    """What transformers and peft say to a prompt, the most probable text."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base)
    model.load_adapter(adapter)
    encoded = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
    with torch.inference_mode():
        out = model.eval().generate(**encoded, do_sample=False, max_new_tokens=tokens)
    return str(tokenizer.decode(out[0, encoded.input_ids.shape[1] :], skip_special_tokens=True))


def _tune_classifier(models: Path, target: Path) -> None:
    """Wide enough to have several parts."""
    tokenizer = AutoTokenizer.from_pretrained(models / "bert")
    names: dict[str, Any] = {"id2label": dict(enumerate(CLASSES)), "label2id": {n: i for i, n in enumerate(CLASSES)}}
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=1024,
        max_position_embeddings=64,
        pad_token_id=0,
        **names,
    )
    model = BertForSequenceClassification(config)
    batch = tokenizer(TEXTS[:2], padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(10):
        model(**batch, labels=torch.tensor([0, 1])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
