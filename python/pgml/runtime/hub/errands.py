"""Start errands, talk with them and end them. Knows nothing of what they do.

An errand is a process because the libraries read the Hub's address when they are imported, and because a process can
be ended at any time.
"""

from __future__ import annotations

import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, BinaryIO, Protocol, cast

from pgml.runtime import frames
from pgml.runtime.errors import INTERNAL_ERROR, IO_ERROR, OUT_OF_MEMORY, Cancelled, RuntimeFault, fault_of, last_line
from pgml.runtime.hub.settings import HubSettings

COMMAND = (sys.executable, "-m", "pgml.runtime.hub.errand")
MILLISECONDS_BETWEEN_LOOKS = 100
SECONDS_OF_STANDBY = 600.0
PIPE = 1 << 20
"""Bytes: a process that reads data goes on while the one that takes it is busy."""

Frame = tuple[dict[str, Any], bytes]
Variables = dict[str, str]


def never() -> bool:
    """Nobody cancels."""
    return False


class Worker(Protocol):
    """Who runs an errand: a process, as a rule."""

    stdin: IO[bytes] | None
    stdout: IO[bytes] | None

    def kill(self) -> None: ...

    def wait(self) -> int: ...


def _start_process(settings: HubSettings) -> Worker:
    return subprocess.Popen(
        COMMAND, env=settings.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, pipesize=PIPE
    )


_start: Callable[[HubSettings], Worker] = _start_process


def start_with(start: Callable[[HubSettings], Worker]) -> None:
    """From now on run errands otherwise: for a process that may start no other."""
    global _start  # noqa: PLW0603 it holds for the whole process
    _start = start


class Errand:
    """One process that does one thing; ended with the context, whatever it is doing."""

    def __init__(self, settings: HubSettings) -> None:
        self.variables = settings.variables()
        _make_cache(settings)
        self._process = _start(settings)

    @classmethod
    def start(cls, hub: dict[str, Any], request: dict[str, Any], payload: bytes = b"") -> Errand:
        """A fresh process that is told what to do."""
        settings = HubSettings.from_request(hub)
        errand = cls(settings)
        errand.ask(settings, request, payload)
        return errand

    def __enter__(self) -> Errand:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def ask(self, settings: HubSettings, request: dict[str, Any], payload: bytes = b"") -> bool:
        """Tell what to do; False if the process is gone."""
        try:
            frames.write_frame(
                cast("frames.Writer", self._process.stdin), {**request, "hub": settings.as_request()}, payload
            )
        except BrokenPipeError:
            return False
        return True

    def frames(self, cancelled: Callable[[], bool] = never) -> Iterator[Frame]:
        """What it says until and with the last frame; the fault of an error frame is raised."""
        self._next(cancelled)  # its hello
        while True:
            header, payload = self._next(cancelled)
            if isinstance(error := header.get("error"), dict):
                raise fault_of(error)
            yield header, payload
            if header.get("ok"):
                return

    def result(self, cancelled: Callable[[], bool] = never) -> dict[str, Any]:
        """The last frame alone."""
        *_, (header, _) = self.frames(cancelled)
        return header

    def end(self) -> None:
        """Kill it if it is still at work. It leaves nothing half-made."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def _next(self, cancelled: Callable[[], bool]) -> Frame:
        stdout = cast("BinaryIO", self._process.stdout)
        poll = select.poll()  # select takes no descriptors from 1024 on
        poll.register(stdout, select.POLLIN)
        says_something = False
        while not says_something:
            says_something = bool(poll.poll(MILLISECONDS_BETWEEN_LOOKS))
            if cancelled():
                raise Cancelled
        try:
            frame = frames.read_frame(cast("frames.Reader", stdout))
        except ConnectionError:
            frame = None
        if frame is None:
            raise self._lost()
        return frame

    def _lost(self) -> RuntimeFault:
        status = self._process.wait()
        if status < 0:
            return RuntimeFault(
                "process that works with the Hub was killed",
                sqlstate=OUT_OF_MEMORY if status == -signal.SIGKILL else INTERNAL_ERROR,
                detail=f"It was ended by signal {-status}.",
                hint="The operating system may have run out of memory; see the log of the server.",
            )
        return RuntimeFault(
            "process that works with the Hub ended without an answer",
            detail=f"Its exit status is {status}.",
            hint="The log of the server says why.",
        )


def _make_cache(settings: HubSettings) -> None:
    try:
        settings.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RuntimeFault(
            f'could not create directory "{settings.cache}" for files of the Hub',
            sqlstate=IO_ERROR,
            detail=last_line(error),
            hint="Name one in pgml.hub_cache that the server may write to.",
        ) from error


class Errands:
    """Errands of the server process, one of which stands by: its libraries are imported already."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._standby: Errand | None = None
        self._timer: threading.Timer | None = None
        # Processes end with the thread that started them, so one that stands by needs a thread that stays.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="errands")

    def run(
        self, request: dict[str, Any], payload: bytes = b"", cancelled: Callable[[], bool] = never
    ) -> Generator[Frame, None, None]:
        """The frames of an errand for a request with its "hub"; ends it as soon as nobody wants them."""
        settings = HubSettings.from_request(request.get("hub"))
        try:
            with self._take(settings, request, payload) as errand:
                yield from errand.frames(cancelled)
        finally:
            if not self._closed and _start is _start_process:
                self._starter.submit(self._stand_by, settings)

    def close(self) -> None:
        """End the one that stands by."""
        self._closed = True
        self._starter.shutdown(cancel_futures=True)
        self._replace(None)

    def _take(self, settings: HubSettings, request: dict[str, Any], payload: bytes) -> Errand:
        standby = self._replace(None, settings.variables())
        if standby is not None:
            if standby.ask(settings, request, payload):
                return standby
            standby.end()
        errand = Errand(settings)
        errand.ask(settings, request, payload)
        return errand

    def _stand_by(self, settings: HubSettings) -> None:
        with self._lock:
            if self._standby is not None and self._standby.variables == settings.variables():
                return
        self._replace(Errand(settings))

    def _replace(self, new: Errand | None, wanted: Variables | None = None) -> Errand | None:
        """Have another stand by; gives the former one if it is as wanted, and ends it if not."""
        with self._lock:
            former, self._standby = self._standby, new
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None
            if new is not None:
                self._timer = threading.Timer(SECONDS_OF_STANDBY, self._replace, [None])
                self._timer.daemon = True
                self._timer.start()
        if former is not None and former.variables != wanted:
            former.end()
            return None
        return former
