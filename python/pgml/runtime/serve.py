"""The server process: `python -m pgml.runtime.serve --socket PATH --cache DIR`. Knows sockets; nothing of models.

It listens before it imports torch, so that clients can connect and wait for the hello frame.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import struct
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pgml import __version__
from pgml.runtime import logs
from pgml.runtime.environment import MISSING_PACKAGE, install_hint, prepare_environment, share_processors
from pgml.runtime.errors import RuntimeFault
from pgml.runtime.serving.connection import Connection

if TYPE_CHECKING:
    from pgml.runtime.serving.handlers import Handlers

logger = logging.getLogger("pgml.runtime.serve")  # __name__ is __main__


def main() -> None:
    """Start, serve, and end with SIGTERM."""
    options = _parse_arguments()
    logs.setup()
    share_processors()
    prepare_environment(str(options.cache.parent / "huggingface"))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _end(options.socket))
    listener = _listen(options.socket)
    handlers = _make_handlers(options)
    logger.info("runtime %s is ready", __version__)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=_serve, args=(sock, handlers), daemon=True).start()


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pgml.runtime.serve", description="Serve models to PostgreSQL.")
    parser.add_argument("--socket", type=Path, required=True, help="where to listen")
    parser.add_argument("--cache", type=Path, required=True, help="directory for models of the registry")
    parser.add_argument("--memory-limit", type=int, default=0, metavar="BYTES", help="for loaded models; 0 is no limit")
    parser.add_argument("--cache-limit", type=int, default=0, metavar="BYTES", help="for the cache; 0 is no limit")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="for computing; 0 is all cores")
    return parser.parse_args()


def _listen(path: Path) -> socket.socket:
    """Listen at a path that appears only when connections are accepted, whatever was there before."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    previous = os.umask(0o177)
    try:
        listener.bind(str(temporary))
    finally:
        os.umask(previous)
    listener.listen(socket.SOMAXCONN)
    temporary.rename(path)
    return listener


def _make_handlers(options: argparse.Namespace) -> Handlers:
    """Import torch and all that; a missing package ends the process with a hint."""
    try:
        # The imports of which the listening above is a part of the point.
        from pgml.runtime.serving.handlers import Handlers  # noqa: PLC0415
        from pgml.runtime.tasks import text_classification  # noqa: F401, PLC0415 ready for the first request
    except ImportError as error:
        options.socket.unlink(missing_ok=True)
        logger.error(  # noqa: TRY400 a traceback would say less
            'could not import Python package "%s" with interpreter "%s": %s',
            error.name,
            sys.executable,
            error,
            extra={"hint": install_hint()},
        )
        sys.exit(MISSING_PACKAGE)
    return Handlers(options.cache, options.cache_limit, options.memory_limit, options.threads)


def _serve(sock: socket.socket, handlers: Handlers) -> None:
    with sock:
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        uid = struct.unpack("3i", credentials)[1]
        if uid not in (os.geteuid(), 0):
            logger.warning("refused a connection from user id %d", uid)
            return
        try:
            with contextlib.closing(Connection(sock)) as connection:
                connection.serve(handlers)
        except ConnectionError:
            logger.debug("client went away")
        except RuntimeFault as fault:
            logger.warning("ended a connection: %s", fault.message)


def _end(path: Path) -> NoReturn:
    # At once: a step that computes would hold up an orderly end for seconds, and there is nothing to save.
    path.unlink(missing_ok=True)
    os._exit(0)


if __name__ == "__main__":
    main()
