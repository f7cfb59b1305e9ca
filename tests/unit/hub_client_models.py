"""A user's program with models, for a process of its own: it reads HF_ENDPOINT when imported. Prints what it saw."""

from __future__ import annotations

import json

from huggingface_hub import HfApi
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

saw = {}
api = HfApi()
model = AutoModelForSequenceClassification.from_pretrained("distilbert-base-uncased", num_labels=2)
tokenizer = AutoTokenizer.from_pretrained("distilbert-base-uncased")
for part in (model, tokenizer):
    part.push_to_hub("tester/pushed-model", private=True)
api.create_tag("tester/pushed-model", tag="v1")
before = model.classifier.bias.detach().clone()
model.classifier.bias.data += 1
model.push_to_hub("tester/pushed-model")
saw["files"] = sorted(api.list_repo_files("tester/pushed-model"))
for revision in ("v1", "main"):
    loaded = AutoModelForSequenceClassification.from_pretrained("tester/pushed-model", revision=revision)
    saw[revision] = bool((loaded.classifier.bias == before).all())

classify = pipeline(model="santiadavani/imdb_review_sentiement")
saw["label"] = classify("The story was wonderful.")[0]["label"]

chat = "santiadavani/fingpt-llama2-7b-chat"
adapted = AutoPeftModelForCausalLM.from_pretrained(chat)
saw["base"] = adapted.peft_config["default"].base_model_name_or_path
messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Who?"}]
saw["prompt"] = AutoTokenizer.from_pretrained(chat).apply_chat_template(messages, tokenize=False)
adapted.push_to_hub("tester/pushed-adapter")
saw["adapter"] = sorted(api.list_repo_files("tester/pushed-adapter"))
print(json.dumps(saw))
