"""Stand for the trainer: speak its protocol (docs/reference/protocol.md) without torch; a job is then over in no time.

`python fake_trainer.py [--steps N] [--pause SECONDS] [--parts N] -m pgml.runtime.train JOB_DIRECTORY`
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import struct
import sys
import time

PART = b"x" * (256 << 10)


def send(header: dict, payload: bytes = b"") -> None:
    head = json.dumps(header).encode()
    sys.stdout.buffer.write(struct.pack("<II", len(head), len(payload)) + head + payload)
    sys.stdout.buffer.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--pause", type=float, default=0.01)
    parser.add_argument("--parts", type=int, default=3)
    options, _ = parser.parse_known_args()
    send({"hello": "pgml", "protocol": 1, "version": "0.1.0", "pid": os.getpid()})
    send({"event": "notice", "message": "loading the base model"})
    for step in range(1, options.steps + 1):
        time.sleep(options.pause)
        logs = {"loss": 1 / step, "epoch": step, "step": step, "max_steps": options.steps}
        send({"event": "log", "logs": logs})
        send({"event": "progress", "step": step, "max_steps": options.steps})
    whole = {"size": len(PART) * options.parts, "sha256": hashlib.sha256(PART * options.parts).hexdigest()}
    for part in range(options.parts):
        send({"event": "file", "path": "model.safetensors", "part": part, **whole}, PART)
    send({"event": "done", "metrics": {"accuracy": 0.5, "f1": 0.5, "loss": 1.0}})


if __name__ == "__main__":
    main()
