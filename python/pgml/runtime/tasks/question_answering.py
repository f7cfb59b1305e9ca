"""Find the answer to a question in a context: `{"score", "start", "end", "answer"}` per input.

Extractive: the answer is a part of the context, at the characters `start` to `end`. A context longer than the model
takes is read in overlapping spans. Scores are those of the pipeline that transformers had for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForQuestionAnswering, BatchEncoding

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED, INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.tasks import LoadedModel, Results, TaskSpec
from pgml.runtime.tasks.arguments import BOOLEAN, COUNT, check_arguments
from pgml.runtime.tasks.batches import padded_tensors, token_batches
from pgml.runtime.tasks.loading import load_pretrained
from pgml.runtime.tasks.text_classification import prepare_tokenizer

ARGUMENTS = {
    "align_to_words": BOOLEAN,
    "batch_size": COUNT,
    "doc_stride": COUNT,
    "handle_impossible_answer": BOOLEAN,
    "max_answer_len": COUNT,
    "max_question_len": COUNT,
    "max_seq_len": COUNT,
    "top_k": COUNT,
}


@dataclass(frozen=True)
class Options:
    """The arguments with the defaults that the pipeline had."""

    align_to_words: bool = True
    doc_stride: int = 128
    handle_impossible_answer: bool = False
    max_answer_len: int = 15
    max_question_len: int = 64
    max_seq_len: int = 384
    top_k: int = 1


def load(directory: str, task: TaskSpec) -> LoadedModel:
    """Read an extractive model."""
    model = load_pretrained(AutoModelForQuestionAnswering, directory, task, ("pooler.",))
    prepare_tokenizer(model.tokenizer, model.module)
    if not model.tokenizer.is_fast:
        raise RuntimeFault("its tokenizer does not say where tokens come from", sqlstate=FEATURE_NOT_SUPPORTED)
    return model


def run(
    model: LoadedModel, inputs: list[Any], args: dict[str, Any], cancelled: Callable[[], bool]
) -> Iterator[Results]:
    """The best answer to each question; with `top_k` above 1, a list of them, best first."""
    del cancelled  # a step takes some milliseconds
    check_arguments(args, ARGUMENTS, model.task.name)
    options = Options(**{name: value for name, value in args.items() if name != "batch_size"})
    for position, value in enumerate(inputs):
        question, context = _question_and_context(value)
        spans = _spans(model, question, context, options)
        candidates: dict[tuple[int, int], float] = {}
        impossible = 1.0
        for batch in token_batches([len(ids) for ids in spans["input_ids"]]):
            for span, start, end in zip(batch, *_logits(model, spans, batch), strict=True):
                found, none = _candidates(model, spans, span, start, end, options)
                impossible = min(impossible, none)
                for place, score in found:
                    candidates[place] = max(score, candidates.get(place, 0.0))
            yield []
        if options.handle_impossible_answer:
            candidates[0, 0] = impossible
        best = sorted(candidates.items(), key=lambda item: -item[1])[: options.top_k]
        answers = [{"score": s, "start": a, "end": b, "answer": context[a:b]} for (a, b), s in best]
        yield [(position, answers[0] if options.top_k == 1 else answers)]


def _question_and_context(value: Any) -> tuple[str, str]:
    """The two texts of an input, which is an object or its JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    match value:
        case {"question": str(question), "context": str(context)} if question.strip() and context.strip():
            return question, context
    raise RuntimeFault(
        "input for question-answering has no question and context",
        sqlstate=INVALID_PARAMETER_VALUE,
        hint='Write it as {"question": "…", "context": "…"}.',
    )


def _spans(model: LoadedModel, question: str, context: str, options: Options) -> BatchEncoding:
    """Question and context encoded together, as often as the context needs."""
    tokenizer = model.tokenizer
    length = min(options.max_seq_len, tokenizer.model_max_length)
    room = length - tokenizer.num_special_tokens_to_add(pair=True)
    start = tokenizer(
        question,
        add_special_tokens=False,
        truncation=True,
        max_length=min(options.max_question_len, room // 2),
        return_offsets_mapping=True,
    )["offset_mapping"]
    question = question[: start[-1][1]] if start else question
    spans: BatchEncoding = tokenizer(
        [question],
        [context],
        truncation="only_second",
        max_length=length,
        stride=min(options.doc_stride, (room - len(start)) // 2),
        return_overflowing_tokens=True,
    )
    return spans


@torch.inference_mode()
def _logits(model: LoadedModel, spans: BatchEncoding, batch: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    encoded = {name: spans[name] for name in spans if name in model.tokenizer.model_input_names}
    output = model.module(**padded_tensors(encoded, batch, model.tokenizer, model.module.device))
    return output.start_logits.float().cpu(), output.end_logits.float().cpu()


def _candidates(
    model: LoadedModel, spans: BatchEncoding, span: int, start: torch.Tensor, end: torch.Tensor, options: Options
) -> tuple[list[tuple[tuple[int, int], float]], float]:
    """The best answers within one span as ((start, end), score), and the score of there being none."""
    encoding = (spans.encodings or [])[span]
    count = len(encoding.ids)
    allowed = torch.tensor([sequence == 1 for sequence in encoding.sequence_ids])
    none = encoding.ids.index(model.tokenizer.cls_token_id) if model.tokenizer.cls_token_id in encoding.ids else 0
    if options.handle_impossible_answer:
        allowed[none] = True
    starts = start[:count].masked_fill(~allowed, float("-inf")).softmax(-1)
    ends = end[:count].masked_fill(~allowed, float("-inf")).softmax(-1)
    score_of_none = float(starts[none] * ends[none])
    if options.handle_impossible_answer:
        starts[none] = ends[none] = 0
    # Row i, column j: the answer from token i to token j.
    scores = torch.outer(starts, ends).triu().tril(options.max_answer_len - 1)
    best, places = scores.flatten().topk(min(options.top_k, scores.numel()))
    answers = []
    for score, place in zip(best.tolist(), places.tolist(), strict=True):
        if score > 0:
            answers.append((_characters(encoding, place // count, place % count, options), score))
    return answers, score_of_none


def _characters(encoding: Any, first: int, last: int, options: Options) -> tuple[int, int]:
    """Where tokens are in the context, in characters; whole words if so wanted."""
    first_word, last_word = encoding.token_to_word(first), encoding.token_to_word(last)
    if options.align_to_words and first_word is not None and last_word is not None:
        return encoding.word_to_chars(first_word, 1)[0], encoding.word_to_chars(last_word, 1)[1]
    return encoding.token_to_chars(first)[0], encoding.token_to_chars(last)[1]
