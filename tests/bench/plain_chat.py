"""Answer conversations with transformers alone, in turns with whoever writes a line to standard input.

`python plain_chat.py MODEL`: each line is a JSON object. {"answer": [conversation, …], "tokens": n} answers one
conversation after the other with a pipeline, {"first": conversation} makes the first token with `generate`; it prints
the seconds.
"""

import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, pipeline

path = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(path)
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
chat = pipeline("text-generation", model=model, tokenizer=tokenizer)


def answer_one_by_one(conversations: list, tokens: int) -> float:
    config = GenerationConfig(max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
    start = time.perf_counter()
    for conversation in conversations:
        chat(conversation, generation_config=config)
    return time.perf_counter() - start


def first_token(conversation: list) -> float:
    start = time.perf_counter()
    inputs = tokenizer.apply_chat_template(
        conversation, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        model.generate(**inputs, max_new_tokens=1, do_sample=False)
    return time.perf_counter() - start


print("ready", flush=True)
for line in sys.stdin:
    wanted = json.loads(line)
    if "first" in wanted:
        print(first_token(wanted["first"]), flush=True)
    else:
        print(answer_one_by_one(wanted["answer"], wanted["tokens"]), flush=True)
