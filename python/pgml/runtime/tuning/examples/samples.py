"""Short answers to held-out prompts, so that one sees what a model has learned. Knows models, no rows' files."""

from __future__ import annotations

from typing import Any

import torch
from transformers import GenerationConfig

from pgml.runtime.conversations import end_of_turn

SAMPLES = 3
NEW_TOKENS = 32
PROMPT_TOKENS = 512
"""Of a longer prompt the end."""


class Samples:
    """A few held-out prompts with the answers that are wanted."""

    def __init__(self, rows: Any, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ends = _ends(tokenizer)
        step = max(1, len(rows) // SAMPLES)
        self._rows = [_prompt_and_wanted(rows[number]) for number in range(0, len(rows), step)[:SAMPLES]]

    @torch.no_grad()
    def answer(self, model: Any) -> list[dict[str, str]]:
        """Greedy answers beside the wanted ones."""
        was_training = model.training
        model.eval()
        samples = [
            {"prompt": self._text(prompt), "wanted": self._text(wanted), "answer": self._generate(model, prompt)}
            for prompt, wanted in self._rows
        ]
        model.train(was_training)
        return samples

    def _generate(self, model: Any, prompt: list[int]) -> str:
        ids = torch.tensor([prompt[-PROMPT_TOKENS:]], device=model.device)
        # Not the model's own settings, which may sample.
        settings = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "eos_token_id": self._ends or None}
        config = GenerationConfig(**settings, pad_token_id=0)  # type: ignore[no-untyped-call]  # of transformers
        output = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
        return self._text(output[0, ids.shape[1] :].tolist())

    def _text(self, ids: list[int]) -> str:
        # The last token may be a part of a character.
        return str(self._tokenizer.decode(ids, skip_special_tokens=True)).rstrip("\ufffd").strip()


def _ends(tokenizer: Any) -> list[int]:
    """The tokens that end an answer."""
    ends = {tokenizer.eos_token_id} - {None}
    if (
        tokenizer.chat_template
        and len(ids := tokenizer(end_of_turn(tokenizer), add_special_tokens=False).input_ids) == 1
    ):
        ends.add(ids[0])
    return sorted(ends)


def _prompt_and_wanted(row: dict[str, Any]) -> tuple[list[int], list[int]]:
    ids, length = row["input_ids"], row["prompt_length"]
    # All of a plain text is trained: its beginning is the prompt.
    length = length or max(1, min(len(ids) // 2, NEW_TOKENS))
    return ids[:length], ids[length:][: 4 * NEW_TOKENS]
