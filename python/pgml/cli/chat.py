"""`pgml chat`: talk to a model in a terminal, or let it answer the lines of a file."""
# ruff: noqa: T201 -- a command prints

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import psycopg

from pgml.chat import Message, Options
from pgml.cli.errors import explain
from pgml.open_source_ai import OpenSourceAI

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 -- argparse has no public name for it

HELP = """\
/clear          forget the conversation
/system TEXT    set what the model is told beforehand; without a text, nothing
/help           show this list
Ctrl-C stops an answer, Ctrl-D ends the chat."""


def add_commands(commands: Commands) -> None:
    command = commands.add_parser(
        "chat",
        help="talk to a model",
        description="Talk to a model. Where standard input is not a terminal, each of its lines is a question.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("model", metavar="PROJECT", help="a project, pgml:<model id>, or another name of a model")
    command.add_argument("--system", metavar="TEXT", help="what the model is told beforehand")
    command.add_argument("--max-tokens", type=int, metavar="N", help="the most tokens an answer may have")
    command.add_argument("--temperature", type=float, metavar="T", help="0: always the same answer (default: 0.8)")
    command.add_argument("--seed", type=int, metavar="N", help="makes answers repeatable")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    with OpenSourceAI(arguments.database_url, max_connections=1) as client:
        options: dict[str, Any] = {"max_tokens": arguments.max_tokens, "temperature": arguments.temperature}
        extra: Options = {} if arguments.seed is None else {"seed": arguments.seed}
        chat = Chat(client, arguments.model, options | extra, arguments.system)
        if sys.stdin.isatty():
            _talk(chat)
        else:
            for line in sys.stdin:
                chat.hear(line.strip())
    return 0


def _talk(chat: Chat) -> None:
    with suppress(ImportError):  # some builds of Python lack it; it lets input() edit and recall lines
        import readline  # noqa: F401, PLC0415 -- not where nothing is typed
    print("Ask something; /help lists commands, Ctrl-D ends.")
    for line in _typed():
        try:
            chat.hear(line.strip())
        except KeyboardInterrupt:
            print(" [stopped]")
        except (psycopg.Error, ValueError) as error:
            print(f"pgml: {explain(error)}", file=sys.stderr)


def _typed() -> Iterator[str]:
    while True:
        try:
            yield input("> ")
        except KeyboardInterrupt:
            print()  # the line begun is given up, as in a shell
        except EOFError:
            print()
            return


class Chat:
    """A conversation: what was said so far, and what comes next."""

    def __init__(self, client: OpenSourceAI, model: str, options: dict[str, Any], system: str | None) -> None:
        self.client = client
        self.model = model
        self.options = options
        self.system = system
        self.messages: list[Message] = []

    def hear(self, line: str) -> None:
        """Obey a command or answer a question. A stopped answer stays as far as it came; a failed one is forgotten."""
        if not line:
            return
        command, _, text = line.partition(" ")
        if command == "/clear":
            self.messages.clear()
        elif command == "/system":
            self.system = text.strip() or None
        elif command.startswith("/"):
            print(HELP)
        else:
            self.answer(line)

    def answer(self, question: str) -> None:
        asked: Message = {"role": "user", "content": question}
        before: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        pieces: list[str] = []
        try:
            stream = self.client.chat_completions_create_stream(
                self.model, [*before, *self.messages, asked], **self.options
            )
            with closing(stream):
                for chunk in stream:
                    pieces.append(chunk["choices"][0]["delta"]["content"])
                    print(pieces[-1], end="", flush=True)
        finally:
            if any(pieces):
                self.messages += [asked, {"role": "assistant", "content": "".join(pieces)}]
        print()
