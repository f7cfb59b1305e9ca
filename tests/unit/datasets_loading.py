"""What tests of loading data sets share: a load in this process or by an errand, and rows as COPY would read them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pgml.runtime.dataset.load import run
from pgml.runtime.errors import fault_of
from pgml.runtime.frames import read_frame, write_frame
from pgml.runtime.hub.errands import Errand
from pgml.runtime.hub.settings import HubSettings

ESCAPES = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t"}


@dataclass
class Loaded:
    """What a load sent."""

    frames: list[tuple[dict[str, Any], bytes]] = field(default_factory=list)

    @property
    def ok(self) -> dict[str, Any]:
        return self.frames[-1][0]

    @property
    def columns(self) -> list[dict[str, Any]]:
        [table] = [header["table"] for header, _ in self.frames if "table" in header]
        return table["columns"]

    @property
    def types(self) -> dict[str, str]:
        return {column["name"]: column["type"] for column in self.columns}

    @property
    def notices(self) -> list[str]:
        return [header["notice"] for header, _ in self.frames if "notice" in header]

    @property
    def rows(self) -> list[list[str | None]]:
        return [
            row for header, payload in self.frames if "rows" in header and "ok" not in header for row in copied(payload)
        ]

    def column(self, name: str) -> list[str | None]:
        index = list(self.types).index(name)
        return [row[index] for row in self.rows]


class Collected:
    """An `Out` that keeps what is sent."""

    def __init__(self) -> None:
        self.loaded = Loaded()

    def notice(self, text: str) -> None:
        self.send({"notice": text})

    def progress(self, phase: str, done: int, total: int | None = None, rows: int | None = None) -> None:
        self.send({"progress": {"phase": phase, "bytes": done, "total": total, "rows": rows}})

    def send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        assert self.loaded.frames or not payload, "rows before the table"
        self.loaded.frames.append((header, payload))


def load_here(source: Any, *directories: Any, subset=None, limit=None, urls="", **kwargs: Any) -> Loaded:
    """Load in this process, which asks no Hub."""
    out = Collected()
    with tempfile.TemporaryDirectory() as cache:
        hub = {"role": "10", "offline": True, "cache": cache}
        out.send({"ok": True, **run(request_of(source, hub, directories, subset, limit, urls, **kwargs), b"", out)})
        assert not [path for path in Path(cache).rglob("*") if path.name != "scratch"]
    return out.loaded


def load_by_errand(hub: dict[str, Any], source: str, **options: Any) -> Loaded:
    """Load in a process of its own, as the server process does it."""
    with Errand.start(hub, request_of(source, hub, **options)) as errand:
        return Loaded(list(errand.frames()))


def request_of(source, hub, directories=(), subset=None, limit=None, urls="", **kwargs: Any) -> dict[str, Any]:
    return {
        "op": "load_dataset",
        "source": str(source),
        "subset": subset,
        "limit": limit,
        "kwargs": kwargs,
        "directories": [str(directory) for directory in directories],
        "urls": urls,
        "hub": hub,
    }


class Loads:
    """A process that loads one data set after the other, with what an errand has as its environment."""

    def __init__(self, hub: dict[str, Any]) -> None:
        program = Path(__file__).parent / "dataset_process.py"
        environment = HubSettings.from_request(hub).environment()
        self._process = subprocess.Popen(
            [sys.executable, program], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def load(self, hub: dict[str, Any], source: Any, **options: Any) -> Loaded:
        write_frame(self._process.stdin, request_of(source, hub, **options))
        loaded = Loaded()
        while not loaded.frames or not {"ok", "error"} & loaded.frames[-1][0].keys():
            loaded.frames.append(read_frame(self._process.stdout))
        if error := loaded.ok.get("error"):
            raise fault_of(error)
        return loaded

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def copied(payload: bytes) -> list[list[str | None]]:
    """The values of lines of COPY's text format, by the rules of PostgreSQL's documentation."""
    text = payload.decode()
    assert text.endswith("\n")
    return [[unescaped(value) for value in line.split("\t")] for line in text[:-1].split("\n")]


def unescaped(value: str) -> str | None:
    if value == "\\N":
        return None
    characters = iter(value)
    return "".join(ESCAPES[next(characters)] if one == "\\" else one for one in characters)
