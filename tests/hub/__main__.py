"""Serve a Hub to this machine until SIGTERM or Ctrl-C: `python -m tests.hub --directory DIR`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from tests.hub.access import TOKENS
from tests.hub.app import make_app
from tests.hub.connections import Connection
from tests.hub.stand_ins import fill
from tests.hub.store import Store

CONTROL, PORT = "control.json", "port"
HOW_TO_GO_ON = """\
It serves {count} repositories from {directory}. In the shell of the client:

  export HF_ENDPOINT={endpoint}
  export HF_HUB_DISABLE_XET=1     # before Python starts: this Hub takes files by LFS
  export HF_TOKEN=hf_writer       # may write as the user tester

Tokens: {tokens}.
Ctrl-C, or kill {pid}, ends it; what was pushed stays."""


def main() -> None:
    """Serve, and tell the address."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.hub",
        description="Serve a Hugging Face Hub to this machine, for tests and for trying things out.",
        epilog="Ends with SIGTERM or Ctrl-C. Requests are neither logged nor sent anywhere.",
    )
    parser.add_argument("--directory", type=Path, required=True, metavar="DIR", help="what it keeps; made if missing")
    parser.add_argument("--port", type=int, help="on 127.0.0.1; default: that of last time, or a free one")
    parser.add_argument("--empty", action="store_true", help="without the stand-ins for imdb and other known names")
    parser.add_argument("--attached", action="store_true", help="end with standard input, and print the address alone")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    if options.attached:
        threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        if not options.empty:
            fill(options.directory)
        store = Store(options.directory)
    except (OSError, RuntimeError) as error:
        sys.exit(f"python -m tests.hub: {error}")
    with store, _listening(options.port, options.directory / PORT) as listener:
        serve(store, listener, options.directory.resolve(), talkative=not options.attached)


def serve(store: Store, listener: socket.socket, directory: Path, *, talkative: bool) -> None:
    """Answer requests. Who can read control.json may tell the Hub what goes wrong."""
    endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
    secret = secrets.token_urlsafe(24)
    config = uvicorn.Config(
        make_app(store, secret),
        http=Connection,
        ws="none",
        lifespan="off",
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    control = directory / CONTROL
    control.unlink(missing_ok=True)
    control.touch(0o600)
    control.write_text(json.dumps({"endpoint": endpoint, "secret": secret, "pid": os.getpid()}))
    try:
        print(f"HF_ENDPOINT={endpoint}", flush=True)
        if talkative:
            tokens = ", ".join(f"{value} ({token.user}, {token.role})" for value, token in TOKENS.items())
            count, pid = len(store.repositories), os.getpid()
            text = HOW_TO_GO_ON.format(count=count, directory=directory, endpoint=endpoint, tokens=tokens, pid=pid)
            print(text, file=sys.stderr, flush=True)
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        control.unlink(missing_ok=True)


@contextlib.contextmanager
def _listening(port: int | None, memory: Path) -> Iterator[socket.socket]:
    """A socket at a port, or where it was last time if nobody else is there now."""
    wishes = [port] if port is not None else [int(memory.read_text()) if memory.exists() else 0, 0]
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for wish in wishes:
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", wish))
                break
        else:
            sys.exit(f"python -m tests.hub: port {port} is taken; choose another with --port")
        listener.listen(128)
        memory.write_text(str(listener.getsockname()[1]))
        yield listener


def _end_with_input() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
