"""Made data sets: sentences put together by a seeded generator, in the shape of known ones."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from datasets import ClassLabel, Dataset, Features, Value

PRAISE = {
    "subject": "the story,the cast,the music,every scene,the dialogue,the ending,the director".split(","),
    "verb": "was,felt,seemed,turned out,remained".split(","),
    "quality": "wonderful,moving,brilliant,funny,fresh,superb,a joy,honest,thrilling,charming".split(","),
}
BLAME = PRAISE | {
    "quality": "terrible,dull,clumsy,predictable,a waste of time,lifeless,awful,annoying,cheap,boring".split(","),
}
FILLER = (
    "I saw it on a Sunday evening with my sister.,It is set in a small town by the sea.,The book came out years ago.,"
    "There are three main characters and a dog.,It runs for nearly two hours.,Some of it was shot at night.,"
    "My friends had told me about it.,The cinema was half empty.,Parts of it are in black and white."
).split(",")
COMPANIES = "Nordholm,Aster Foods,Velatech,Brightwater,Kestrel Air,Omnia Bank,Tarn Steel,Lumen Retail".split(",")
FIGURES = "operating profit,net sales,the order backlog,revenue,the dividend,the margin,exports".split(",")
QUARTERS = "first,second,third,fourth".split(",")
CLASSES = {
    "strong negative": "collapsed by {} percent after the recall",
    "moderately negative": "fell by {} percent",
    "mildly negative": "slipped by 0.{} percent",
    "negative": "decreased, and {} jobs will go",
    "neutral": "will be reported in room {} on Monday",
    "positive": "increased, and {} people will be hired",
    "mildly positive": "edged up by 0.{} percent",
    "moderately positive": "rose by {} percent",
    "strong positive": "soared by {} percent, a record",
}
THREE = ("negative", "neutral", "positive")
SEVEN = tuple(name for name in CLASSES if name not in ("negative", "positive"))
QUESTION = "What is the sentiment of this {}? Please choose an answer from {{{}}}."


def imdb(folder: Path, rows: int = 400) -> None:
    """Film reviews: splits train, test and unsupervised, the last without labels."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    chance = random.Random(42)
    splits = {}
    for split, count in {"train": rows, "test": rows // 2, "unsupervised": rows}.items():
        labels = [row * 2 // count for row in range(count)]  # the real one is sorted by label, too
        texts = [" ".join(_review(chance, positive=bool(label))) for label in labels]
        if split == "unsupervised":
            labels = [-1] * count
        splits[split] = Dataset.from_dict({"text": texts, "label": labels}, features=features)
    _save(folder, "plain_text", "plain_text", splits, [{"names": {"0": "neg", "1": "pos"}}])


def fingpt_sentiment(folder: Path, rows: int = 600) -> None:
    """News of companies with an instruction, and the sentiment in words."""
    chance = random.Random(43)
    columns: dict[str, list[str]] = {"input": [], "output": [], "instruction": []}
    for _ in range(rows):
        choices = chance.choice((THREE, SEVEN))
        output = chance.choice(choices)
        news = CLASSES[output].format(chance.randint(2, 98))
        company, figure, quarter = map(chance.choice, (COMPANIES, FIGURES, QUARTERS))
        columns["input"].append(f"{company} said that {figure} of the {quarter} quarter {news}.")
        columns["output"].append(output)
        columns["instruction"].append(QUESTION.format(chance.choice(("news", "tweet")), "/".join(choices)))
    features = Features({name: Value("string") for name in columns})
    _save(folder, "default", "data", {"train": Dataset.from_dict(columns, features=features)})


def words() -> list[str]:
    """The words of the reviews and the news."""
    texts = [text for part in (PRAISE, BLAME) for texts in part.values() for text in texts]
    texts += [*FILLER, *COMPANIES, *FIGURES, *QUARTERS, *CLASSES.values(), *CLASSES, "said that of the quarter"]
    return re.findall("[a-z]+", " ".join(texts).lower())


def _review(chance: random.Random, *, positive: bool) -> Iterator[str]:
    words = PRAISE if positive else BLAME
    for _ in range(chance.randint(6, 16)):
        if chance.random() < 0.4:
            yield chance.choice(FILLER)
        else:
            subject, verb, quality = (chance.choice(words[kind]) for kind in ("subject", "verb", "quality"))
            yield f"{subject.capitalize()} {verb} {quality}."


def _save(
    folder: Path, config: str, place: str, splits: dict[str, Dataset], class_labels: list[dict[str, Any]] | None = None
) -> None:
    """Parquet files and the card that names them, as the Hub has them for most data sets."""
    (folder / place).mkdir()
    described = []
    for name, rows in splits.items():
        file = folder / place / f"{name}-00000-of-00001.parquet"
        rows.to_parquet(file)
        described.append({"name": name, "num_bytes": file.stat().st_size, "num_examples": len(rows)})
    columns = next(iter(splits.values())).features
    labels = iter(class_labels or [])
    card = {
        "dataset_info": {
            "config_name": config,
            "features": [
                {"name": name, "dtype": {"class_label": next(labels)} if isinstance(kind, ClassLabel) else kind.dtype}
                for name, kind in columns.items()
            ],
            "splits": described,
        },
        "configs": [
            {
                "config_name": config,
                "data_files": [{"split": name, "path": f"{place}/{name}-*"} for name in splits],
                "default": True,
            }
        ],
    }
    text = "A stand-in for tests: the rows are made up, only their shape is that of the data set of this name.\n"
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(card, sort_keys=False)}---\n{text}")
