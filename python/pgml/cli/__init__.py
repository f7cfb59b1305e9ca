"""The command `pgml`: its arguments, and errors as one line. What it does is in the modules beside."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import psycopg

from pgml import __version__
from pgml.cli import chat, doctor, jobs
from pgml.cli.errors import explain

INTERRUPTED = 130
"""What shells report for a program that Ctrl-C ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status. 1: it failed, and standard error says why."""
    arguments = parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except (psycopg.Error, ValueError) as error:
        sys.stderr.write(f"pgml: {explain(error)}\n")
        return 1
    except BrokenPipeError:  # the reader, such as head, has enough; nor does the interpreter's last flush reach it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def parser() -> argparse.ArgumentParser:
    """The arguments. `--database-url` may stand before and after the command's name."""
    top = argparse.ArgumentParser(prog="pgml", description="Tuning and serving of language models inside PostgreSQL.")
    top.add_argument("--version", action="version", version=f"pgml {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for module in (chat, jobs, doctor):
        module.add_commands(commands)
    _add_database_url(top, None)
    for command in commands.choices.values():
        _add_database_url(command, argparse.SUPPRESS)
    return top


def _add_database_url(to: argparse.ArgumentParser, default: str | None) -> None:
    to.add_argument(
        "--database-url",
        metavar="URL",
        default=default,
        help="the database, by default $PGML_DATABASE_URL, then $DATABASE_URL, then what libpq reads (PGHOST …)",
    )
