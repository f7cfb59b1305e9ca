"""`pgml jobs` and `pgml logs`: what tuning jobs do and did."""
# ruff: noqa: T201 -- a command prints

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pgml.progress import describe, samples
from pgml.queries import Row, query
from pgml.tuning import LOGS, POLL, STATE

if TYPE_CHECKING:
    from pgml.cli.chat import Commands

COLUMNS = {
    "model": "model_id",
    "project": "project",
    "task": "task",
    "status": "status",
    "steps": "steps",
    "left": "time_left",
    "base": "base_model",
    "created": "created_at",
    "error": "error",
}
JOBS = """
SELECT *, step || '/' || max_steps AS steps FROM pgml.jobs ORDER BY model_id DESC LIMIT %s
"""


def add_commands(commands: Commands) -> None:
    listing = commands.add_parser("jobs", help="list tuning jobs, newest first", description="List tuning jobs.")
    listing.add_argument("-n", "--limit", type=int, default=20, metavar="N", help="how many (default: 20)")
    listing.set_defaults(run=list_jobs)
    logs = commands.add_parser(
        "logs",
        help="show what a job logged",
        description="Show what a tuning job logged: loss, learning rate, evaluations.",
    )
    logs.add_argument("model_id", type=int, metavar="MODEL_ID", help="the job, as pgml jobs lists it")
    logs.add_argument(
        "-f", "--follow", action="store_true", help="go on until the job ends; the exit status is 1 if it failed"
    )
    logs.set_defaults(run=show_logs)


def list_jobs(arguments: argparse.Namespace) -> int:
    rows = query(arguments.database_url, JOBS, arguments.limit)
    lines = [list(COLUMNS), *([_cell(row[key]) for key in COLUMNS.values()] for row in rows)]
    if sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    for line in lines:
        print(("  " if sys.stdout.isatty() else "\t").join(line).rstrip(" "))
    return 0


def _cell(value: Any) -> str:
    # Times to the second; a tab or a line break would end the cell.
    return "" if value is None else " ".join(str(value).split(".")[0].split())


def show_logs(arguments: argparse.Namespace) -> int:
    for state, logs in _follow(arguments.database_url, arguments.model_id):
        for row in logs:
            print("\n".join([describe(row["logs"]), *samples(row["logs"])]), flush=True)
        if arguments.follow and state["status"] in ("failed", "cancelled"):
            print(f"{state['status']}: {state['error']}", file=sys.stderr)
            return 1
        if not arguments.follow:
            break
    return 0


def _follow(database_url: str | None, model_id: int) -> Iterator[tuple[Row, list[Row]]]:
    """The state of a job and what it logged since the last time, until it is over."""
    seen = 0
    while True:
        states = query(database_url, STATE, model_id)
        if not states:
            raise ValueError(f"model {model_id} does not exist")
        logs = query(database_url, LOGS, model_id, seen)
        seen = logs[-1]["id"] if logs else seen
        yield states[0], logs
        if states[0]["status"] not in ("queued", "in_progress"):
            return
        time.sleep(POLL)
