"""The other end of a connection to the server process: what a backend does."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path
from typing import Any

from pgml.runtime import frames
from pgml.runtime.serving.store import StoredFile, digest_of


class Backend:
    """A client on a connected socket; reads the hello first."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.stream = sock.makefile("rwb", buffering=0)
        self.hello, _ = self.read()

    @classmethod
    def connect(cls, path: Path) -> Backend:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(60)
        sock.connect(str(path))
        return cls(sock)

    def close(self) -> None:
        self.stream.close()
        self.socket.close()

    def send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        frames.write_frame(self.stream, header, payload)

    def read(self) -> tuple[dict[str, Any], bytes]:
        frame = frames.read_frame(self.stream)
        assert frame is not None
        return frame

    def send_transform(self, model: Any, inputs: list[Any], task: Any = None, **args: Any) -> None:
        task = {"task": task} if isinstance(task, str) else task or {}
        header = {"op": "transform", "task": task, "args": args, "model": model, "inputs": "json"}
        self.send(header, frames.encode(inputs))

    def transform(self, model: Any, inputs: list[Any], task: Any = None, **args: Any) -> Any:
        """The results, or the error object."""
        self.send_transform(model, inputs, task, **args)
        return self.result()

    def result(self) -> Any:
        header, payload = self.read()
        return header["error"] if "error" in header else json.loads(payload)

    def send_files(self, directory: Path, model: dict[str, Any], part: int = 1 << 20) -> None:
        """Answer a `need` frame."""
        for file in model["files"]:
            data = (directory / file["path"]).read_bytes()
            for start in range(0, max(len(data), 1), part):
                self.send({"file": file["path"]}, data[start : start + part])
        self.send({"files_end": True})


def directory_model(path: Path) -> dict[str, Any]:
    """A model of kind "directory"."""
    return {"kind": "directory", "name": path.name, "path": str(path)}


def stored_model(directory: Path, task: str | None = "text-classification") -> dict[str, Any]:
    """A model of kind "stored" whose files are those of a directory."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    files = [
        {
            "path": str(p.relative_to(directory)),
            "size": p.stat().st_size,
            "sha256": hashlib.sha256(p.read_bytes()).hexdigest(),
        }
        for p in paths
    ]
    digest = digest_of(tuple(StoredFile(**file) for file in files))
    return {"kind": "stored", "name": "pgml:12", "digest": digest, "task": task, "files": files}
