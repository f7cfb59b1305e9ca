"""Classify texts one by one with a pipeline, in turns with whoever writes a line to standard input.

`python row_by_row.py MODEL TEXTS.json`: for each line that it reads it prints the seconds it took and the labels.
"""

import json
import sys
import time
from pathlib import Path

from transformers import pipeline

model, texts = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
classify = pipeline("text-classification", model=model)
classify(texts[0])
print("ready", flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    labels = [classify(text)[0]["label"] for text in texts]
    print(json.dumps([time.perf_counter() - start, labels]), flush=True)
