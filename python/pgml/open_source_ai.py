"""Chat with a model of the database. Knows how to ask; what is asked and answered is in `chat`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Any, Self, Unpack, cast

import psycopg
from psycopg.types.json import Jsonb

from pgml.chat import ChatCompletion, ChatCompletionChunk, Chunks, Options, Request, completion, make_request
from pgml.connections import MAX_CONNECTIONS, Connections

ASK = "SELECT pgml.transform(task => %s::jsonb, args => %s::jsonb, inputs => %s::jsonb[])"
STREAM = "SELECT pgml.transform_stream(task => %s::jsonb, args => %s::jsonb, inputs => %s::jsonb[])"


class OpenSourceAI:
    """A client for chats, with the methods and dicts of PostgresML's client of this name.

    `database_url` is a URL or another connection string of libpq; without one the environment's PGML_DATABASE_URL or
    DATABASE_URL counts, and last what libpq itself reads (PGHOST, PGUSER, PGPASSWORD …). Connections are opened at the
    first call, at most `max_connections` of them for all threads and as many for each event loop, and kept. They close
    with `close`, `aclose`, `with`, `async with`, and at the end of the program or of the event loop by themselves.

    All four methods take the same arguments:

    - `model`: the name of a project, `pgml:<model id>`, a directory below `pgml.model_directories`, or a repository of
      the Hub; or a dict with the name as `model` and anything that loads or generates differently beside it.
    - `messages`: `[{"role": "system" | "user" | "assistant", "content": "…"}, …]`, one conversation.
    - `max_tokens`: the most tokens an answer may have; by default 1000, or what the model's context leaves.
    - `temperature`: 0 gives always the same answer; by default 0.8.
    - `n`: how many answers; by default 1.
    - `chat_template`: Jinja that renders the messages, instead of the model's own.
    - by keyword: `top_p`, `top_k`, `min_p`, `repetition_penalty`, `stop` (a text or a list), `seed`,
      `choices` (the answer is one of these texts), `continue_final_message`.

    Errors: ValueError for arguments that cannot be right; psycopg.Error for the rest, as the server says it:
    UndefinedObject for a model that does not exist, InvalidParameterValue for arguments out of range,
    OperationalError where the server cannot be reached.

    >>> client = OpenSourceAI("postgresql://localhost/postgres")
    """

    def __init__(self, database_url: str | None = None, *, max_connections: int = MAX_CONNECTIONS) -> None:
        self._connections = Connections(database_url, max_connections=max_connections)

    def chat_completions_create(
        self,
        model: str | Mapping[str, Any],
        messages: Sequence[Mapping[str, Any]],
        max_tokens: int | None = None,
        temperature: float | None = None,
        n: int | None = None,
        chat_template: str | None = None,
        **options: Unpack[Options],
    ) -> ChatCompletion:
        """The whole answer. Ctrl-C cancels it on the server."""
        request = make_request(model, messages, max_tokens, temperature, n, chat_template, **options)
        with self._connections.connection() as connection:
            row = connection.execute(ASK, _parameters(request)).fetchone()
        return completion(request, row[0] if row else [])

    async def chat_completions_create_async(
        self,
        model: str | Mapping[str, Any],
        messages: Sequence[Mapping[str, Any]],
        max_tokens: int | None = None,
        temperature: float | None = None,
        n: int | None = None,
        chat_template: str | None = None,
        **options: Unpack[Options],
    ) -> ChatCompletion:
        """The whole answer. Cancelling the task cancels it on the server."""
        request = make_request(model, messages, max_tokens, temperature, n, chat_template, **options)
        async with self._connections.async_connection() as connection:
            row = await (await connection.execute(ASK, _parameters(request))).fetchone()
        return completion(request, row[0] if row else [])

    def chat_completions_create_stream(
        self,
        model: str | Mapping[str, Any],
        messages: Sequence[Mapping[str, Any]],
        max_tokens: int | None = None,
        temperature: float | None = None,
        n: int | None = None,
        chat_template: str | None = None,
        **options: Unpack[Options],
    ) -> Generator[ChatCompletionChunk, None, None]:
        """Chunks as the tokens are made, and a last one with `finish_reason` and `usage`.

        Each chunk has one choice for each of the `n` answers, with an empty text where there is nothing new.
        The stream keeps a connection until it ends; `close` ends it, also on the server.
        """
        return self._stream(make_request(model, messages, max_tokens, temperature, n, chat_template, **options))

    async def chat_completions_create_stream_async(
        self,
        model: str | Mapping[str, Any],
        messages: Sequence[Mapping[str, Any]],
        max_tokens: int | None = None,
        temperature: float | None = None,
        n: int | None = None,
        chat_template: str | None = None,
        **options: Unpack[Options],
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        """As `chat_completions_create_stream`; cancelling the task that reads, or `aclose`, ends the stream."""
        return self._stream_async(make_request(model, messages, max_tokens, temperature, n, chat_template, **options))

    def _stream(self, request: Request) -> Generator[ChatCompletionChunk, None, None]:
        chunks = Chunks(request)
        with (
            self._connections.connection() as connection,
            closing(_rows(connection, request)) as rows,
        ):
            for (row,) in rows:
                if chunk := chunks.chunk(row):
                    yield chunk
        yield chunks.last()

    async def _stream_async(self, request: Request) -> AsyncGenerator[ChatCompletionChunk, None]:
        chunks = Chunks(request)
        async with (
            self._connections.async_connection() as connection,
            aclosing(_async_rows(connection, request)) as rows,
        ):
            async for (row,) in rows:
                if chunk := chunks.chunk(row):
                    yield chunk
        yield chunks.last()

    def close(self) -> None:
        """Close the connections of the threads; those of an event loop need `aclose`, or end with the loop."""
        self._connections.close()

    async def aclose(self) -> None:
        """Close the connections of the threads and of the running event loop."""
        await self._connections.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()


def _parameters(request: Request) -> list[Any]:
    return [Jsonb(request.task), Jsonb(request.args), [Jsonb(message) for message in request.inputs]]


# psycopg promises no more than an iterator. It is a generator, and closing it cancels the query.
def _rows(connection: psycopg.Connection, request: Request) -> Generator[tuple[Any, ...], None, None]:
    rows = connection.cursor().stream(STREAM, _parameters(request))
    return cast("Generator[tuple[Any, ...], None, None]", rows)


def _async_rows(connection: psycopg.AsyncConnection, request: Request) -> AsyncGenerator[tuple[Any, ...], None]:
    rows = connection.cursor().stream(STREAM, _parameters(request))
    return cast("AsyncGenerator[tuple[Any, ...], None]", rows)
