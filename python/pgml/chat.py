"""What a chat asks of the database and what it gives back. Knows nothing of connections.

A request is one conversation. The shapes are those of OpenAI's chat completions, as PostgresML's client had them.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, TypedDict, Unpack, cast

TEMPERATURE = 0.8
"""The default of PostgresML's client."""
FinishReason = Literal["stop", "length"]


class Message(TypedDict):
    role: str
    content: str


class Usage(TypedDict):
    """Numbers of tokens. The prompt counts once, the answers all together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Choice(TypedDict):
    index: int
    message: Message
    finish_reason: FinishReason | None


class ChatCompletion(TypedDict):
    """A whole answer. `created` is in seconds since 1970."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: Usage


class ChunkChoice(TypedDict):
    index: int
    delta: Message
    finish_reason: FinishReason | None


class ChatCompletionChunk(TypedDict):
    """A part of an answer. Only the last chunk has `usage` and finish reasons; its deltas are empty texts."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: NotRequired[Usage]


class Options(TypedDict, total=False):
    """What PostgresML's client had no arguments for. The server checks their ranges."""

    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    stop: str | Sequence[str]
    seed: int
    choices: Sequence[str]
    continue_final_message: bool


class Answer(TypedDict):
    """What the database says of one sequence, whole or in pieces."""

    text: str
    finish_reason: FinishReason | None
    prompt_tokens: int | None
    completion_tokens: int | None


@dataclass(frozen=True)
class Request:
    """The arguments of `pgml.transform` and `pgml.transform_stream`."""

    task: dict[str, Any]
    inputs: list[dict[str, Any]]
    args: dict[str, Any]

    @property
    def model(self) -> str:
        return str(self.task["model"])

    @property
    def fingerprint(self) -> str:
        """The same for the same request."""
        text = json.dumps([self.task, self.inputs, self.args], sort_keys=True, default=str)
        return str(uuid.UUID(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()))


def make_request(
    model: str | Mapping[str, Any],
    messages: Sequence[Mapping[str, Any]],
    max_tokens: int | None = None,
    temperature: float | None = None,
    n: int | None = None,
    chat_template: str | None = None,
    **options: Unpack[Options],
) -> Request:
    """Check what can be known here; raises ValueError, and TypeError for a keyword that does not exist."""
    task = {**_model_object(model), "task": "conversational"}
    if unknown := sorted(options.keys() - Options.__annotations__.keys()):
        known = ", ".join(Options.__annotations__)
        raise TypeError(f"unexpected keyword argument {', '.join(map(repr, unknown))}; there are {known}")
    for name, value in (("max_tokens", max_tokens), ("n", n)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value!r}")
    if temperature is None and "temperature" not in task:
        temperature = TEMPERATURE
    given = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "n": n,
        "chat_template": chat_template,
        **options,
    }
    args = {name: value for name, value in given.items() if value is not None}
    return Request(task, _check_messages(messages), {**args, "details": True})


def _model_object(model: str | Mapping[str, Any]) -> dict[str, Any]:
    described = {"model": model} if isinstance(model, str) else dict(model)
    if "model" not in described:
        raise ValueError("`model` is a required key in the model object")
    if not isinstance(described["model"], str) or not described["model"]:
        raise ValueError(f"model must be a name, not {described['model']!r}")
    return described


def _check_messages(messages: Any) -> list[dict[str, Any]]:
    if isinstance(messages, str | Mapping) or not messages:
        raise ValueError('messages must be a list of {"role": …, "content": …} with at least one of them')
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
            raise ValueError(f'messages[{number}] must be {{"role": …, "content": …}}, not {message!r}')
    return [dict(message) for message in messages]


def completion(request: Request, answers: Sequence[Answer]) -> ChatCompletion:
    """The dict of a whole answer."""
    return {
        "id": str(uuid.uuid4()),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.model,
        "system_fingerprint": request.fingerprint,
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": answer["text"]},
                "finish_reason": answer["finish_reason"],
            }
            for index, answer in enumerate(answers)
        ],
        "usage": _usage(answers),
    }


def _usage(answers: Sequence[Answer]) -> Usage:
    prompt = max((answer["prompt_tokens"] or 0 for answer in answers), default=0)
    completed = sum(answer["completion_tokens"] or 0 for answer in answers)
    return {"prompt_tokens": prompt, "completion_tokens": completed, "total_tokens": prompt + completed}


@dataclass
class Chunks:
    """The chunks of one stream: they share an id, and the last one says how it ended."""

    request: Request
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: int = field(default_factory=lambda: int(time.time()))
    ends: dict[int, Answer] = field(default_factory=dict)
    """The last piece of each sequence that has ended."""

    def chunk(self, row: Sequence[Answer | None]) -> ChatCompletionChunk | None:
        """The chunk for a row of `transform_stream`: one choice a sequence. None for a row without text."""
        self.ends |= {index: piece for index, piece in enumerate(row) if piece and piece["finish_reason"]}
        texts = [piece["text"] if piece else "" for piece in row]
        return self._chunk([_delta(index, text) for index, text in enumerate(texts)]) if any(texts) else None

    def last(self) -> ChatCompletionChunk:
        ends = sorted(self.ends.items())
        chunk = self._chunk([_delta(index, "", piece["finish_reason"]) for index, piece in ends])
        return {**chunk, "usage": _usage([piece for _, piece in ends])}

    def _chunk(self, choices: list[ChunkChoice]) -> ChatCompletionChunk:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.request.model,
            "system_fingerprint": self.request.fingerprint,
            "choices": choices,
        }


def _delta(index: int, text: str, finish_reason: FinishReason | None = None) -> ChunkChoice:
    delta = cast("Message", {"role": "assistant", "content": text})
    return {"index": index, "delta": delta, "finish_reason": finish_reason}
