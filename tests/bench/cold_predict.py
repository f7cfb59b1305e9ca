"""What a script does that needs one prediction: `python cold_predict.py MODEL TEXT`."""

import sys

from transformers import pipeline

model, text = sys.argv[1:]
print(pipeline("text-classification", model=model)(text))
