"""Run tuning jobs as a backend and a job worker do: rows on disk, a plan, a trainer's frames."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from pgml.runtime.frames import read_frame, write_frame
from pgml.runtime.tuning.check import check_tune
from pgml.runtime.tuning.examples.rows import prepare

WORDS = {
    "bad": "a terrible waste of an evening",
    "good": "a wonderful joy of a film",
    "late": "the delivery was two days late",
}


def write_rows(directory: Path, columns: dict[str, list[str | None]], batch: int = 3) -> None:
    """Write rows.arrow, in small batches."""
    table = pa.table({role: pa.array(values, pa.string()) for role, values in columns.items()})
    with pa.OSFile(str(directory / "rows.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table, max_chunksize=batch)


def easy_rows(rows: int = 48) -> dict[str, list[str | None]]:
    """Texts that even a tiny model tells apart."""
    labels = [list(WORDS)[number % len(WORDS)] for number in range(rows)]
    return {"text": [f"{WORDS[label]} {number}" for number, label in enumerate(labels)], "label": [*labels]}


COLOURS = ("red", "blue", "green")


def easy_talks(rows: int = 24) -> dict[str, list[str | None]]:
    """Conversations whose answers even a tiny model learns."""
    words = [COLOURS[number % len(COLOURS)] for number in range(rows)]
    return {
        "system": [None if number % 2 else "Be kind." for number in range(rows)],
        "user": [f"What is {word}?" for word in words],
        "assistant": [f"{word} is a colour." for word in words],
    }


def make_job(
    directory: Path,
    base: Path,
    columns: dict[str, list[str | None]] | None = None,
    hyperparams: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """Check, write rows, prepare and write job.json."""
    columns = columns or easy_rows()
    directory.mkdir(parents=True, exist_ok=True)
    request = {
        "project": "reviews",
        "task": _task(columns),
        "model": {"kind": "directory", "name": "tiny", "path": str(base)},
        "relation": {"name": "reviews", "columns": [{"name": name, "type": "text"} for name in columns]},
        "y_column_name": None,
        "hyperparams": hyperparams or {},
        "test_size": 0.25,
        "test_sampling": "stratified",
        "job_directory": str(directory),
        **changes,
    }
    plan = check_tune(request, str(base))
    write_rows(directory, {column["role"]: columns[column["name"]] for column in plan["columns"]})
    how = {key: request[key] for key in ("test_size", "test_sampling")}
    analysis = prepare({"job_directory": str(directory), "plan": plan, "relation": "reviews", **how})
    job = {"model_id": 1, "project": "reviews", "plan": plan, "analysis": analysis, **how}
    (directory / "job.json").write_text(json.dumps(job))
    return directory


def _task(columns: dict[str, list[str | None]]) -> str:
    if "text1" in columns:
        return "text-pair-classification"
    return "text-classification" if "label" in columns else "conversation"


@dataclass
class Run:
    """What a trainer sent and how it ended."""

    frames: list[tuple[dict[str, Any], bytes]] = field(default_factory=list)
    status: int | None = None
    log: list[str] = field(default_factory=list)

    @property
    def events(self) -> list[str]:
        """The kinds of the frames, the hello first."""
        return [header.get("event", "hello") for header, _ in self.frames]

    def of(self, event: str) -> list[dict[str, Any]]:
        """Headers of one kind."""
        return [header for header, _ in self.frames if header.get("event") == event]

    @property
    def last(self) -> dict[str, Any]:
        """The header that ended it."""
        return self.frames[-1][0]

    def store(self, directory: Path) -> Path:
        """Put the files together from their parts, as the job worker does, and check them."""
        expected = {}
        for header, payload in self.frames:
            if header.get("event") != "file":
                continue
            assert len(payload) <= 4 << 20
            path = directory / header["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            parts = expected.setdefault(header["path"], [header["size"], header["sha256"], 0])
            assert parts == [header["size"], header["sha256"], header["part"]]
            parts[2] += 1
            with path.open("ab") as file:
                file.write(payload)
        assert list(expected) == sorted(expected)
        for path, (size, sha256, _) in expected.items():
            data = (directory / path).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (size, sha256)
        return directory


def start_trainer(
    job: Path, *arguments: str, hub: dict[str, Any] | None = None, **environment: str
) -> subprocess.Popen[bytes]:
    """Start it as a job worker does; `hub` is what it may do on the Hub."""
    command = [sys.executable, "-m", "pgml.runtime.train", str(job), *arguments]
    # One thread: the tests share the machine, and tiny models gain nothing from two.
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    with (job / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=env)
    assert process.stdin is not None
    if hub is not None:
        write_frame(process.stdin, {"hub": hub})
    process.stdin.close()
    return process


def follow(process: subprocess.Popen[bytes], job: Path, until: str | None = None, run: Run | None = None) -> Run:
    """Read frames to the end, or up to the first of a kind."""
    run = run or Run()
    assert process.stdout is not None
    while (frame := read_frame(process.stdout)) is not None:
        run.frames.append(frame)
        if until is not None and run.events[-1] == until:
            return run
    run.status = process.wait(timeout=30)
    process.stdout.close()
    run.log = (job / "log").read_text().splitlines()
    return run


def train(job: Path, **environment: str) -> Run:
    """Run a job to its end."""
    return follow(start_trainer(job, **environment), job)
