"""The same training without PostgreSQL, as a script would do it: `python plain_training.py SETTINGS.json TARGET`.

Settings: base, rows of the training and of the test part as pairs of text and label, training_args, max_length.
"""

import json
import sys
from pathlib import Path

import numpy as np
from datasets import Dataset
from sklearn.metrics import accuracy_score, f1_score
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

settings, target = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
labels = sorted({label for _, label in settings["train"]})
set_seed(settings["training_args"]["seed"])
tokenizer = AutoTokenizer.from_pretrained(settings["base"])
model = AutoModelForSequenceClassification.from_pretrained(
    settings["base"], id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)}
)


def tokenised(rows: list) -> Dataset:
    encoded = tokenizer([text for text, _ in rows], truncation=True, max_length=settings["max_length"])
    return Dataset.from_dict({**encoded, "labels": [labels.index(label) for _, label in rows]})


def metrics(prediction) -> dict:
    classes = np.argmax(prediction.predictions, axis=-1)
    truth = prediction.label_ids
    return {"accuracy": accuracy_score(truth, classes), "f1": f1_score(truth, classes, average="macro")}


trainer = Trainer(
    model=model,
    args=TrainingArguments(
        output_dir=str(target / "output"), report_to="none", disable_tqdm=True, **settings["training_args"]
    ),
    data_collator=DataCollatorWithPadding(tokenizer),
    train_dataset=tokenised(settings["train"]),
    eval_dataset=tokenised(settings["test"]),
    compute_metrics=metrics,
)
trainer.train()
print("RESULT", json.dumps(trainer.evaluate()))
trainer.save_model(str(target / "model"))
tokenizer.save_pretrained(target / "model")
