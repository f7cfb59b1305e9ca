"""The same LoRA tuning with TRL and its defaults: `python plain_chat_training.py SETTINGS.json OUTPUT`.

Settings: base, conversations (lists of messages), lora (fields of LoraConfig), max_steps. Prints the seconds.
"""

import json
import sys
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

settings, output = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2]
on_cpu = {} if torch.cuda.is_available() else {"use_cpu": True}  # without it the default bf16 is refused
trainer = SFTTrainer(
    settings["base"],
    args=SFTConfig(output_dir=output, max_steps=settings["max_steps"], report_to="none", disable_tqdm=True, **on_cpu),
    train_dataset=Dataset.from_list([{"messages": messages} for messages in settings["conversations"]]),
    peft_config=LoraConfig(task_type="CAUSAL_LM", **settings["lora"]),
)
print("RESULT", json.dumps(trainer.train().metrics["train_runtime"]))
