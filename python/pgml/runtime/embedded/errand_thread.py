"""An errand in a thread of this process. It can be asked to end, which it hears when it next says something.

The libraries read the Hub's settings once, when they are imported; so a session has one set of them.
"""

from __future__ import annotations

import os
import socket
from typing import IO, cast

from pgml.runtime.embedded import threads
from pgml.runtime.errors import OBJECT_NOT_IN_PREREQUISITE_STATE, RuntimeFault
from pgml.runtime.hub import errand
from pgml.runtime.hub.settings import HubSettings


class ErrandThread:
    """Looks like the process that it stands for."""

    def __init__(self, settings: HubSettings) -> None:
        _check(settings)
        self._ours, theirs = socket.socketpair()
        self.stdin: IO[bytes] | None = cast("IO[bytes]", self._ours.makefile("wb", buffering=0))
        self.stdout: IO[bytes] | None = cast("IO[bytes]", self._ours.makefile("rb", buffering=0))
        threads.start(_work, theirs)

    def kill(self) -> None:
        """End it as soon as it says something."""
        self._ours.shutdown(socket.SHUT_RDWR)

    def wait(self) -> int:
        """Its exit status. Nobody waits for a thread: it may be in the middle of a download."""
        self._ours.close()
        return 0


def _work(sock: socket.socket) -> None:
    with sock, sock.makefile("rb", buffering=0) as reader, sock.makefile("wb", buffering=0) as writer:
        try:
            errand.work(reader, errand.Out(writer))
        except OSError:
            return  # nobody listens any more


def _check(settings: HubSettings) -> None:
    changed = [name for name, value in settings.variables().items() if os.environ.get(name) != value]
    if changed:
        raise RuntimeFault(
            "the settings of the Hub have changed since this session first used the runtime",
            sqlstate=OBJECT_NOT_IN_PREREQUISITE_STATE,
            detail="In embedded mode its libraries read them once in a session.",
            hint="Open a new connection.",
        )
