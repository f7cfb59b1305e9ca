"""The page of the command line: what each command says with --help."""

from __future__ import annotations

import argparse
import os
from unittest import mock

from tools.reference.markdown import block

from pgml import cli

HEAD = """# The command line

The command `pgml` comes with the [Python client](../how-to/python.md). Exit status: 0 done, 1 failed (one line on
standard error says why), 2 wrong usage, 130 Ctrl-C.

"""
WIDTH = "100"


def page() -> str:
    """The text of the page."""
    parser = cli.parser()
    with mock.patch.dict(os.environ, COLUMNS=WIDTH):
        parts = [HEAD, block(parser.format_help())]
        for name, command in _commands(parser).items():
            parts += [f"\n## pgml {name}\n\n", block(command.format_help())]
    return "".join(parts)


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (action,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))  # noqa: SLF001 no other way
    return dict(action.choices)
