"""A Hub as a process of its own, for tests: started, disturbed, asked what it answered, and stopped."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.hub.admin import HEADER
from tests.hub.faults import Answered

ROOT = Path(__file__).parents[2]
# Whatever the caller's environment says about a Hub must not reach the clients under test.
FOREIGN = ("HF_", "HUGGING_FACE_", "HUGGINGFACE_", "TRANSFORMERS_")


class RunningHub:
    """One Hub. Its endpoint stays the same when it is stopped and started again."""

    def __init__(self, directory: Path, *, stand_ins: bool = False) -> None:
        self.directory = directory
        self.stand_ins = stand_ins
        self.port = 0
        self.secret = ""
        self.process: subprocess.Popen[str] | None = None
        self.tokens: dict[str, dict[str, Any]] = {}
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.hub", "--attached", "--directory", str(self.directory.resolve())]
        command += ["--port", str(self.port), *([] if self.stand_ins else ["--empty"])]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        )
        line = self.process.stdout.readline()
        if not line.startswith("HF_ENDPOINT="):
            raise RuntimeError(f"the Hub did not start: exit code {self.process.wait()}")
        self.port = int(line.rpartition(":")[2])
        self.secret = json.loads((self.directory / "control.json").read_text())["secret"]
        for value, token in self.tokens.items():
            self._tell("POST", "tokens", {"value": value, **token})

    def stop(self) -> None:
        """Stop it, as its SIGTERM does; nothing listens on its port then."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process = None

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Nobody answers meanwhile. What was pushed is there again after; faults and records are not."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def fail(self, status: int, path: str = "", **more: Any) -> None:
        """Answer the next request that fits with a status; `more` are fields of `Fault`, e.g. times=3."""
        self.disturb(path=path, status=status, **more)

    def disturb(self, **fault: Any) -> None:
        """Add a fault: see `Fault` for its fields."""
        self._tell("POST", "faults", fault)

    def heal(self) -> None:
        """No more faults."""
        self._tell("DELETE", "faults")

    @property
    def requests(self) -> list[Answered]:
        """What was asked since the start or since `forget`, in order."""
        return [Answered(**record) for record in self._tell("GET", "requests")]

    def forget(self) -> None:
        self._tell("DELETE", "requests")

    def add_token(self, value: str, **token: Any) -> None:
        """Take one more token; `token` are the fields of `Token`, e.g. name="marked", user="tester", role="read"."""
        self._tell("POST", "tokens", {"value": value, **token})
        self.tokens[value] = token

    def remove_token(self, value: str) -> None:
        """Take a token no longer, as if it were revoked."""
        self._tell("DELETE", "tokens", {"value": value})
        self.tokens.pop(value, None)

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """For a client in a process of its own, with a cache of its own."""
        variables = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
        }
        return environment() | variables | ({"HF_TOKEN": token} if token else {})

    def _tell(self, method: str, what: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {HEADER: self.secret, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.endpoint}/-/admin/{what}", data, headers, method=method)
        with self.opener.open(request, timeout=10) as response:
            return json.loads(response.read() or b"null")


def environment() -> dict[str, str]:
    """The caller's, without what it says about Hubs."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


@contextlib.contextmanager
def running_hub(directory: Path, *, stand_ins: bool = False) -> Iterator[RunningHub]:
    """A Hub over a directory, which keeps what was pushed; with the stand-ins, if asked for."""
    hub = RunningHub(directory, stand_ins=stand_ins)
    try:
        hub.start()
        yield hub
    finally:
        hub.stop()
