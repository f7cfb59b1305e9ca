"""Give texts, or pairs of texts, the labels of a sequence classifier.

Knows tokenizers and models; knows nothing of sockets, requests or tables. `encode` and `prepare_tokenizer` are also
what the trainer uses, so a model is served with exactly the text it was tuned on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, BatchEncoding

from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.serving.directories import pgml_settings
from pgml.runtime.tasks import LoadedModel, Results, TaskSpec
from pgml.runtime.tasks.arguments import ANYTHING, BOOLEAN, COUNT, COUNT_OR_NULL, check_arguments, one_of
from pgml.runtime.tasks.batches import padded_tensors, token_batches
from pgml.runtime.tasks.loading import load_merged, load_pretrained

TOKENIZER_ARGS = ("add_special_tokens", "max_length", "padding", "truncation", "truncation_side")
"""What `tokenizer_args` may hold. `padding` is without effect: a batch is padded to its own longest text."""

TRUNCATION_SIDES = ("left", "right")
"""From which end of a text that is too long tokens are cut off."""

DEFAULT_MAX_LENGTH = 512
"""For a model with relative positions whose tokenizer sets no limit either."""

# These models number positions from pad_token_id + 1, so that many rows of their position table are out of reach.
OFFSET_POSITIONS = frozenset(
    "camembert data2vec-text esm ibert layoutlmv3 lilt longformer luke markuplm mluke mpnet roberta "
    "roberta-prelayernorm xlm-roberta xlm-roberta-xl xmod".split()
)
# Tokens are cut from a prefix of a long text if the prefix has this many more than are kept. A word is at most 100
# pieces (longer ones become one unknown token), so one cut in two at the end of the prefix cannot reach those kept.
PREFIX_MARGIN = 128
PREFIX_CHARACTERS_PER_TOKEN = 12

ARGUMENTS = {
    "add_special_tokens": BOOLEAN,
    "batch_size": COUNT,  # pipelines take it; here batches are cut by tokens, which is faster and the same result
    "function_to_apply": one_of("none", "sigmoid", "softmax"),
    "max_length": COUNT,
    "padding": ANYTHING,
    "return_all_scores": BOOLEAN,
    "top_k": COUNT_OR_NULL,
    "truncation": ANYTHING,
    "truncation_side": one_of(*TRUNCATION_SIDES),
}
WINDOW = 512
"""Texts that are tokenised and sorted by length at a time: a step of 0.2 s at most, and few token ids in memory."""


def max_length(tokenizer: Any, config: Any, tokenizer_args: dict[str, Any] | None = None) -> int:
    """The number of tokens kept of a text: the least of what the user, the tokenizer and the positions allow."""
    limits = [tokenizer.model_max_length]
    if config is not None:
        text_config = config.get_text_config()
        positions = getattr(text_config, "max_position_embeddings", None)
        if positions and positions > 0:
            offset = (text_config.pad_token_id or 0) + 1 if text_config.model_type in OFFSET_POSITIONS else 0
            limits.append(positions - offset)
    # A tokenizer without a limit says 1e30.
    known = [int(limit) for limit in limits if limit and limit < 1e9] or [DEFAULT_MAX_LENGTH]
    wanted = (tokenizer_args or {}).get("max_length")
    return min([*known, int(wanted)] if wanted else known)


def prepare_tokenizer(tokenizer: Any, model: Any) -> None:
    """Give a decoder-only model a padding token, and the tokenizer the limit that the model's positions set."""
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise RuntimeFault("tokenizer has neither a padding nor an end-of-sequence token", sqlstate="22023")
        tokenizer.pad_token = tokenizer.eos_token
    if model.config.get_text_config().pad_token_id is None:
        model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
        model.config.pad_token_id = tokenizer.pad_token_id
    tokenizer.model_max_length = max_length(tokenizer, model.config)


def encode(
    tokenizer: Any, texts: list[str], pairs: list[str] | None = None, tokenizer_args: dict[str, Any] | None = None
) -> BatchEncoding:
    """Token ids and masks of the texts as lists, without padding, cut to what the model takes."""
    if not texts:
        return BatchEncoding({"input_ids": [], "attention_mask": []})
    args = tokenizer_args or {}
    with _truncation_side(tokenizer, args.get("truncation_side")):
        return _encode(tokenizer, texts, pairs, args)


@contextmanager
def _truncation_side(tokenizer: Any, side: str | None) -> Iterator[None]:
    """The side is an attribute of the tokenizer, which serves requests with other wishes too."""
    before = tokenizer.truncation_side
    tokenizer.truncation_side = side or before
    try:
        yield
    finally:
        tokenizer.truncation_side = before


def _encode(tokenizer: Any, texts: list[str], pairs: list[str] | None, args: dict[str, Any]) -> BatchEncoding:
    limit = max_length(tokenizer, None, args)
    truncation = args.get("truncation", True)
    truncates = truncation not in (False, "do_not_truncate")
    if truncates:
        texts = [_shorten(tokenizer, text, limit) for text in texts]
        pairs = None if pairs is None else [_shorten(tokenizer, text, limit) for text in pairs]
    encoded: BatchEncoding = tokenizer(
        texts,
        pairs,
        add_special_tokens=args.get("add_special_tokens", True),
        truncation=truncation,
        max_length=limit if truncates else None,
        verbose=False,
    )
    if not truncates:
        longest = max((len(ids) for ids in encoded["input_ids"]), default=0)
        if longest > limit:
            raise RuntimeFault(
                f"text of {longest} tokens is longer than the maximum of {limit}",
                sqlstate="22023",
                hint='Leave out "truncation": false, or shorten the text.',
            )
    return encoded


def _shorten(tokenizer: Any, text: str, limit: int) -> str:
    """The part of a long text that surely holds all the tokens that are kept: megabytes take long to tokenise."""
    size = limit * PREFIX_CHARACTERS_PER_TOKEN
    while size < len(text):
        part = text[-size:] if tokenizer.truncation_side == "left" else text[:size]
        if len(tokenizer(part, verbose=False)["input_ids"]) >= limit + PREFIX_MARGIN:
            return part
        size *= 4
    return text


def load(directory: str, task: TaskSpec) -> LoadedModel:
    """Read a sequence classifier; a model that pgml tuned brings the `tokenizer_args` it was tuned with."""
    model = load_pretrained(AutoModelForSequenceClassification, directory, task)
    return _ready(model, pgml_settings(directory, directory))


def load_adapter(directory: str, base: str, task: TaskSpec) -> LoadedModel:
    """Read a classifier that is an adapter on a base, which gets a copy of its own with the adapter merged into it."""
    settings = pgml_settings(directory, directory)
    model = load_merged(AutoModelForSequenceClassification, base, directory, task, settings.get("labels"))
    return _ready(model, settings)


def _ready(model: LoadedModel, settings: dict[str, Any]) -> LoadedModel:
    prepare_tokenizer(model.tokenizer, model.module)
    model.extra["tokenizer_args"] = settings.get("tokenizer_args")
    config = model.module.config
    model.extra["labels"] = [str(config.id2label[number]) for number in range(config.num_labels)]
    return model


def run(
    model: LoadedModel, inputs: list[Any], args: dict[str, Any], cancelled: Callable[[], bool]
) -> Iterator[Results]:
    """One `{"label", "score"}` per input; with `top_k`, or for a multi-label model, a list of them, best first."""
    del cancelled  # a step takes some milliseconds
    check_arguments(args, ARGUMENTS, model.task.name)
    tokenizer_args = {**(model.extra["tokenizer_args"] or {}), **{k: v for k, v in args.items() if k in TOKENIZER_ARGS}}
    texts, pairs = _texts_and_pairs(inputs, model.task.name == "text-pair-classification")
    for start in range(0, len(texts), WINDOW):
        window = slice(start, start + WINDOW)
        encoded = encode(model.tokenizer, texts[window], pairs[window] if pairs else None, tokenizer_args)
        for batch in token_batches([len(ids) for ids in encoded["input_ids"]]):
            logits = _logits(model, encoded, batch)
            yield [(start + row, result) for row, result in zip(batch, _results(model, logits, args), strict=True)]


def _texts_and_pairs(inputs: list[Any], pairs_wanted: bool) -> tuple[list[str], list[str] | None]:
    """The two columns of the inputs; the second is None for single texts."""
    parsed = [_text_and_pair(_parsed_pair(value) if pairs_wanted else value) for value in inputs]
    with_pair = sum(pair is not None for _, pair in parsed)
    if with_pair == len(parsed):
        return [text for text, _ in parsed], [pair for _, pair in parsed if pair is not None]
    if pairs_wanted or with_pair:
        raise RuntimeFault(
            "input is not a pair of texts",
            sqlstate=INVALID_PARAMETER_VALUE,
            hint='Write a pair as {"text": "…", "text_pair": "…"} or ["…", "…"].',
        )
    return [text for text, _ in parsed], None


def _parsed_pair(value: Any) -> Any:
    """A pair written as a JSON text, where inputs are texts: pgml.predict, and the text[] forms of pgml.transform."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        return value


def _text_and_pair(value: Any) -> tuple[str, str | None]:
    match value:
        case str(text):
            return text, None
        case {"text": str(text), "text_pair": str(pair)} if len(value) == 2:
            return text, pair
        case {"text1": str(text), "text2": str(pair)} if len(value) == 2:
            return text, pair
        case {"text": str(text)} if len(value) == 1:
            return text, None
        case [str(text), str(pair)]:
            return text, pair
    raise RuntimeFault(
        f"invalid input for text classification: {json.dumps(value, ensure_ascii=False)[:100]}",
        sqlstate=INVALID_PARAMETER_VALUE,
        hint='An input is a text, or a pair written as {"text": "…", "text_pair": "…"} or ["…", "…"].',
    )


@torch.inference_mode()
def _logits(model: LoadedModel, encoded: BatchEncoding, batch: list[int]) -> torch.Tensor:
    """Run the model on some rows of what was encoded."""
    tensors = padded_tensors(encoded, batch, model.tokenizer, model.module.device)
    logits: torch.Tensor = model.module(**tensors).logits
    return logits.float().cpu()


def _results(model: LoadedModel, logits: torch.Tensor, args: dict[str, Any]) -> list[Any]:
    """The results of a batch as they go into the answer."""
    labels = model.extra["labels"]
    config = model.module.config
    function = args.get("function_to_apply") or _default_function(config)
    scores = logits if function == "none" else logits.sigmoid() if function == "sigmoid" else logits.softmax(-1)
    everything = args.get("return_all_scores") or config.problem_type == "multi_label_classification"
    if "top_k" not in args and not everything:
        best, numbers = scores.max(-1)
        return [{"label": labels[n], "score": s} for n, s in zip(numbers.tolist(), best.tolist(), strict=True)]
    best, numbers = scores.topk(min(args.get("top_k") or len(labels), len(labels)), dim=-1)
    return [
        [{"label": labels[n], "score": s} for n, s in zip(*row, strict=True)]
        for row in zip(numbers.tolist(), best.tolist(), strict=True)
    ]


def _default_function(config: Any) -> str:
    if config.problem_type == "regression":
        return "none"
    return "sigmoid" if config.problem_type == "multi_label_classification" or config.num_labels == 1 else "softmax"
