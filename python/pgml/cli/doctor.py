"""`pgml doctor`: what `pgml.doctor` found, for a person."""
# ruff: noqa: T201 -- a command prints

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from pgml.doctor import examine
from pgml.findings import PROBLEM

if TYPE_CHECKING:
    from pgml.cli.chat import Commands

COLOURS = {"ok": 32, "warning": 33, "problem": 31}


def add_commands(commands: Commands) -> None:
    command = commands.add_parser(
        "doctor",
        help="check server, extension, interpreter, packages and device",
        description="Check what pgml needs and say how to mend it. The exit status is 1 if there is a problem.",
    )
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    found = False
    for finding in examine(arguments.database_url):
        found |= finding.state == PROBLEM
        state = f"{finding.state:<8}"
        if sys.stdout.isatty():
            state = f"\033[{COLOURS[finding.state]}m{state}\033[0m"
        print(f"{state} {finding.what}", flush=True)
        if finding.mend:
            print(f"{'':<8} to mend: {finding.mend}")
    return int(found)
