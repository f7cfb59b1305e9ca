"""Give texts, or pairs of texts, the labels of a sequence classifier.

Knows tokenizers and models; knows nothing of sockets, requests or tables. `encode` and `prepare_tokenizer` are also what
the trainer uses, so a model is served with exactly the text it was tuned on.
"""

from __future__ import annotations

from typing import Any

from transformers import BatchEncoding

from pgml.runtime.errors import RuntimeFault

TOKENIZER_ARGS = ("add_special_tokens", "max_length", "padding", "truncation")
"""What `tokenizer_args` may hold. `padding` is accepted and without effect: a batch is padded to its own longest text."""

DEFAULT_MAX_LENGTH = 512
"""For a model with relative positions whose tokenizer sets no limit either."""

# These models number positions from pad_token_id + 1, so that many rows of their position table are out of reach.
OFFSET_POSITIONS = frozenset(
    "camembert data2vec-text esm ibert layoutlmv3 lilt longformer luke markuplm mluke mpnet roberta "
    "roberta-prelayernorm xlm-roberta xlm-roberta-xl xmod".split()
)
# Tokens are cut from a prefix of a long text if the prefix has this many more than are kept. A word is at most 100 pieces
# (longer ones become one unknown token), so a word cut in two at the end of the prefix cannot reach the kept tokens.
PREFIX_MARGIN = 128
PREFIX_CHARACTERS_PER_TOKEN = 12


def max_length(tokenizer: Any, config: Any, tokenizer_args: dict[str, Any] | None = None) -> int:
    """The number of tokens kept of a text: the smallest of what the user, the tokenizer and the model's positions allow."""
    limits = [tokenizer.model_max_length]
    if config is not None:
        text_config = config.get_text_config()
        positions = getattr(text_config, "max_position_embeddings", None)
        if positions and positions > 0:
            offset = (text_config.pad_token_id or 0) + 1 if text_config.model_type in OFFSET_POSITIONS else 0
            limits.append(positions - offset)
    # A tokenizer without a limit says 1e30.
    limits = [int(limit) for limit in limits if limit and limit < 1e9] or [DEFAULT_MAX_LENGTH]
    wanted = (tokenizer_args or {}).get("max_length")
    return min([*limits, wanted] if wanted else limits)


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
    """Token ids and masks of the texts as lists, without padding, cut to what the model takes (see `prepare_tokenizer`)."""
    args = tokenizer_args or {}
    limit = max_length(tokenizer, None, args)
    truncation = args.get("truncation", True)
    truncates = truncation not in (False, "do_not_truncate")
    if truncates:
        texts = [_shorten(tokenizer, text, limit) for text in texts]
        pairs = None if pairs is None else [_shorten(tokenizer, text, limit) for text in pairs]
    encoded = tokenizer(
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
    """The part of a long text that surely holds all the tokens that are kept, so that megabytes are not tokenised for them."""
    size = limit * PREFIX_CHARACTERS_PER_TOKEN
    while size < len(text):
        part = text[-size:] if tokenizer.truncation_side == "left" else text[:size]
        if len(tokenizer(part, verbose=False)["input_ids"]) >= limit + PREFIX_MARGIN:
            return part
        size *= 4
    return text
