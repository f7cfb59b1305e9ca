"""Put a classification head on an encoder: `python classifier.py BASE TARGET`. Seeded; it has learnt nothing."""

import sys

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

base, target = sys.argv[1:]
torch.manual_seed(17)
AutoModelForSequenceClassification.from_pretrained(base, num_labels=4).save_pretrained(target)
AutoTokenizer.from_pretrained(base).save_pretrained(target)
