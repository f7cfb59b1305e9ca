"""Give texts their embeddings: for each an array of numbers, the vector that a sentence-transformers model has for it.

Any other encoder, or decoder, serves too. Vectors are those of the library sentence-transformers, which is not used:
it reads pickles and takes arguments of loading from a model's files, and costs the process two seconds and 140 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import normalizers
from transformers import AutoModel, AutoModelForTextEncoding, BatchEncoding

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED, INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.nearest import alternatives, quoted_list
from pgml.runtime.serving.directories import read_json
from pgml.runtime.tasks import LoadedModel, Results, TaskSpec
from pgml.runtime.tasks.arguments import ANYTHING, BOOLEAN, COUNT, COUNT_OR_NULL, STRING, check_arguments, one_of
from pgml.runtime.tasks.batches import padded_tensors, token_batches
from pgml.runtime.tasks.loading import load_pretrained
from pgml.runtime.tasks.sentence_layers import Pooling, read_layers
from pgml.runtime.tasks.text_classification import WINDOW, encode, prepare_tokenizer

ARGUMENTS = {
    "batch_size": COUNT,  # batches are cut by tokens, with the same result
    "convert_to_numpy": ANYTHING,
    "convert_to_tensor": ANYTHING,
    "instruction": STRING,
    "normalize": BOOLEAN,
    "normalize_embeddings": BOOLEAN,
    "output_value": one_of("sentence_embedding"),
    "precision": one_of("float32"),
    "prompt": STRING,
    "prompt_name": STRING,
    "show_progress_bar": ANYTHING,
    "truncate_dim": COUNT_OR_NULL,
}
PROMPTS = ("prompt", "instruction", "prompt_name")
"""Arguments that each say what is put before every text."""

ENCODERS = ("mt5", "t5", "umt5")
"""Types of models of which only the encoder is read."""

PLAIN_TEXT = {"method": "forward", "method_output_name": "last_hidden_state"}


class SentenceEncoder(torch.nn.Module):
    """A transformer, and what makes one vector per text of its tokens. Computes with 32 bits after the transformer."""

    def __init__(self, transformer: Any, pooling: Pooling, layers: torch.nn.Sequential) -> None:
        super().__init__()
        self.transformer = transformer
        self.pooling = pooling
        self.layers = layers

    @property
    def device(self) -> torch.device:
        device: torch.device = self.transformer.device
        return device

    def forward(self, tensors: dict[str, torch.Tensor], prompt_tokens: int) -> torch.Tensor:
        """The vectors of a batch."""
        tokens = self.transformer(**tensors).last_hidden_state.float()
        vectors: torch.Tensor = self.layers(self.pooling(tokens, tensors["attention_mask"], prompt_tokens))
        return vectors


def load(directory: str, task: TaskSpec) -> LoadedModel:
    """Read the transformer, and the layers that the directory's files name."""
    path, pooling, layers = read_layers(directory)
    settings = _transformer_settings(path)
    is_encoder = read_json(path / "config.json", directory).get("model_type") in ENCODERS
    # The pooler of an encoder has no part in the vectors of its tokens.
    model = load_pretrained(AutoModelForTextEncoding if is_encoder else AutoModel, str(path), task, ("pooler.",))
    transformer, tokenizer = model.module, model.tokenizer
    transformer.config.get_text_config().use_cache = False
    tokenizer.model_max_length = settings.get("max_seq_length") or tokenizer.model_max_length
    prepare_tokenizer(tokenizer, transformer)
    if settings.get("do_lower_case"):
        own = tokenizer.backend_tokenizer.normalizer
        tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Lowercase(), *([own] if own else [])]
        )
    model.module = SentenceEncoder(transformer, pooling, layers.eval().to(transformer.device))
    model.extra["settings"] = _optional_json(Path(directory, "config_sentence_transformers.json"))
    return model


def _transformer_settings(path: Path) -> dict[str, Any]:
    """What sentence-transformers wrote of a transformer, in a file that older versions named by its type."""
    settings = next((_optional_json(file) for file in sorted(path.glob("sentence_*_config.json"))), {})
    kinds = settings.get("modality_config", {"text": PLAIN_TEXT})
    if kinds.get("text") != PLAIN_TEXT or "message" in kinds:
        raise RuntimeFault("its transformer does not take plain texts", sqlstate=FEATURE_NOT_SUPPORTED)
    return settings


def _optional_json(file: Path) -> dict[str, Any]:
    return read_json(file, file.parent.name) if file.exists() else {}


def run(
    model: LoadedModel, inputs: list[Any], args: dict[str, Any], cancelled: Callable[[], bool]
) -> Iterator[Results]:
    """The vector of each text, as a list of numbers of 32 bits."""
    del cancelled  # a step takes some milliseconds
    check_arguments(args, ARGUMENTS, model.task.name)
    if not all(isinstance(value, str) for value in inputs):
        raise RuntimeFault("input for embedding is not a text", sqlstate=INVALID_PARAMETER_VALUE)
    prompt = _prompt(model.extra["settings"], args)
    prompt_tokens = 0 if model.module.pooling.include_prompt else _length_of_prompt(model.tokenizer, prompt)
    for start in range(0, len(inputs), WINDOW):
        encoded = encode(model.tokenizer, [prompt + text for text in inputs[start : start + WINDOW]])
        _fill_empty(encoded, model.tokenizer)
        for batch in token_batches([len(ids) for ids in encoded["input_ids"]]):
            tensors = padded_tensors(encoded, batch, model.tokenizer, model.module.device)
            vectors = _vectors(model, tensors, prompt_tokens, args)
            yield [(start + row, vector) for row, vector in zip(batch, vectors.tolist(), strict=True)]


@torch.inference_mode()
def _vectors(
    model: LoadedModel, tensors: dict[str, torch.Tensor], prompt_tokens: int, args: dict[str, Any]
) -> torch.Tensor:
    vectors: torch.Tensor = model.module(tensors, prompt_tokens)
    vectors = vectors[:, : args.get("truncate_dim") or model.extra["settings"].get("truncate_dim")]
    if args.get("normalize_embeddings") or args.get("normalize"):
        vectors = torch.nn.functional.normalize(vectors, dim=1)
    return vectors.cpu()


def _prompt(settings: dict[str, Any], args: dict[str, Any]) -> str:
    """What is put before every text."""
    named = [name for name in PROMPTS if name in args]
    if len(named) > 1:
        raise RuntimeFault(
            f"arguments exclude each other: {quoted_list(named)}",
            sqlstate=INVALID_PARAMETER_VALUE,
            hint="Each of them says what is put before the texts.",
        )
    if named and named != ["prompt_name"]:
        return str(args[named[0]])
    # The library knows these two for every model, so that a query can be named as one whatever the model is.
    prompts = {"query": "", "document": "", **(settings.get("prompts") or {})}
    name = args.get("prompt_name", settings.get("default_prompt_name"))
    if name is not None and name not in prompts:
        raise RuntimeFault(
            f'model has no prompt "{name}"',
            sqlstate=INVALID_PARAMETER_VALUE,
            hint=alternatives(name, sorted(prompts)),
        )
    return str(prompts.get(name) or "")


def _length_of_prompt(tokenizer: Any, prompt: str) -> int:
    """The number of tokens that a prompt has at the beginning of a text."""
    if not prompt:
        return 0
    ids = encode(tokenizer, [prompt])["input_ids"][0]
    return len(ids) - (ids[-1] in tokenizer.all_special_ids)


def _fill_empty(encoded: BatchEncoding, tokenizer: Any) -> None:
    """Give texts without any token, which are empty ones where no tokens are added, one to be computed from."""
    for row, ids in enumerate(encoded["input_ids"]):
        if not ids:
            fill = {"input_ids": tokenizer.pad_token_id, "attention_mask": 1}
            for name, values in encoded.items():
                values[row] = [fill.get(name, 0)]
