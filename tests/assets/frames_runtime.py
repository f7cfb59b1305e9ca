"""A server process that says what it is told to: `kwargs.frames` of `pgml.load_dataset` is what it answers.

Each element is {"header": object, "payload": text, "repeat": 1, "times": 1, "pause": seconds}: a payload, repeated, in
each of so many frames. Then it closes the connection, unless the last frame had "ok" or "error".
Knows nothing of pgml's package, so that any Python can run it.
"""

import argparse
import json
import os
import socket
import struct
import threading
import time
from pathlib import Path


def send(connection: socket.socket, header: dict, payload: bytes = b"") -> None:
    """One frame."""
    head = json.dumps(header).encode()
    connection.sendall(struct.pack("<II", len(head), len(payload)) + head + payload)


def receive(connection: socket.socket) -> dict | None:
    """The header of the next frame; requests of this kind have no payload. None when the other side is gone."""
    lengths = connection.recv(8, socket.MSG_WAITALL)
    if len(lengths) < 8:
        return None
    return json.loads(connection.recv(struct.unpack("<II", lengths)[0], socket.MSG_WAITALL))


def answer(connection: socket.socket, request: dict) -> bool:
    """Whether the answer is whole."""
    header: dict = {}
    for frame in request["kwargs"].get("frames", []):
        header = frame["header"]
        if header.get("echo"):
            header = {"notice": json.dumps(request)}
        payload = frame.get("payload", "").encode() * frame.get("repeat", 1)
        for _ in range(frame.get("times", 1)):
            time.sleep(frame.get("pause", 0))
            send(connection, header, payload)
    return "ok" in header or "error" in header


def serve(connection: socket.socket) -> None:
    """All requests of one connection."""
    with connection:
        send(connection, {"hello": "pgml", "protocol": 1, "version": "0", "pid": os.getpid()})
        try:
            while (request := receive(connection)) and answer(connection, request):
                pass
        except OSError:
            print("the caller is gone", flush=True)


def main() -> None:
    """Listen at --socket, for ever."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    path = parser.parse_known_args()[0].socket
    listener = socket.socket(socket.AF_UNIX)
    Path(path).unlink(missing_ok=True)
    listener.bind(path)
    listener.listen()
    while True:
        threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()


if __name__ == "__main__":
    main()
