"""Translate texts with an encoder-decoder: `{"translation_text"}` per input.

Languages are the arguments `src_lang` and `tgt_lang`, which the task name `translation_en_to_fr` also sets. A model of
one pair of languages needs neither; T5 finds its prefix by them, and multilingual models their language tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.tasks import LoadedModel, Results, seq2seq
from pgml.runtime.tasks.arguments import STRING
from pgml.runtime.tasks.seq2seq import load

__all__ = ["load", "run"]

ARGUMENTS = {**seq2seq.ARGUMENTS, "src_lang": STRING, "tgt_lang": STRING}


def run(
    model: LoadedModel, inputs: list[Any], args: dict[str, Any], cancelled: Callable[[], bool]
) -> Iterator[Results]:
    """Translate each text."""
    args = dict(args)
    source, target = args.pop("src_lang", None), args.pop("tgt_lang", None)
    if hasattr(model.tokenizer, "src_lang"):
        if source is None or target is None:
            raise RuntimeFault(
                "model translates between many languages, and the task does not say which",
                sqlstate=INVALID_PARAMETER_VALUE,
                hint='Pass args => \'{"src_lang": "…", "tgt_lang": "…"}\' with the language codes of the model.',
            )
        model.tokenizer.src_lang = source
        args["forced_bos_token_id"] = _language_token(model, target)
    return seq2seq.run(
        model, inputs, args, cancelled, "translation_text", f"translation_{source}_to_{target}", ARGUMENTS
    )


def _language_token(model: LoadedModel, language: str) -> int:
    token: int
    if hasattr(model.tokenizer, "get_lang_id"):  # M2M100 writes __fr__
        token = model.tokenizer.get_lang_id(language)
    else:  # NLLB and mBART write fra_Latn and fr_XX, which is also what users name
        token = model.tokenizer.convert_tokens_to_ids(language)
    if token in (None, model.tokenizer.unk_token_id):
        raise RuntimeFault(f'model does not know the language "{language}"', sqlstate=INVALID_PARAMETER_VALUE)
    return token
