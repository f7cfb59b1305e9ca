"""Models by Hub name: which directory holds one now. Asks the Hub by errands; knows nothing of files and of loading.

An answer is remembered for some minutes. Whoever wants a model that is being downloaded waits for that download.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgml.runtime.errors import PROTOCOL_VIOLATION, Cancelled, RuntimeFault, as_fault
from pgml.runtime.hub.errands import Errands
from pgml.runtime.hub.policy import check_allowed, may_run_code
from pgml.runtime.hub.settings import HubSettings, is_commit
from pgml.runtime.serving.models import ModelDirectory

if TYPE_CHECKING:
    from pgml.runtime.serving.client import Client

SECONDS_REMEMBERED = 300.0
SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_BETWEEN_NOTICES = 5.0

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Wanted:
    """A model as a request names it; to resume from it, its checkpoints are wanted too."""

    name: str
    revision: str | None
    resume: bool
    settings: HubSettings

    @classmethod
    def from_request(cls, model: dict[str, Any]) -> Wanted:
        """Read a model object of kind "hub"."""
        name, revision = model.get("name"), model.get("revision")
        if not isinstance(name, str) or not isinstance(revision, str | None):
            raise RuntimeFault("request names a malformed model of the Hub", sqlstate=PROTOCOL_VIOLATION)
        return cls(name, revision, bool(model.get("resume")), HubSettings.from_request(model.get("hub")))

    @property
    def is_final(self) -> bool:
        """Whether the answer stays the same."""
        return self.settings.offline or (self.revision is not None and is_commit(self.revision))


@dataclass(frozen=True)
class Found:
    """What an errand answered."""

    path: str
    id: str
    commit: str
    private: bool
    until: float


@dataclass
class Download:
    """An errand under way, and how many wait for it."""

    waiting: int = 0
    notices: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    found: Found | None = None
    fault: RuntimeFault | None = None


class HubModels:
    """What is known of the Hub's models."""

    def __init__(self, errands: Errands) -> None:
        self._errands = errands
        self._lock = threading.Lock()
        self._found: dict[Key, Found] = {}
        self._downloads: dict[Key, Download] = {}
        self._secret = secrets.token_bytes(32)

    def find(self, model: dict[str, Any], client: Client) -> ModelDirectory:
        """The directory of a model of kind "hub", with its files in it."""
        wanted = Wanted.from_request(model)
        settings = wanted.settings
        check_allowed(settings, wanted.name)
        key = self._key(wanted)
        found = self._remembered(key) or self._wait(key, wanted, client)
        check_allowed(settings, wanted.name, found.id)
        remote_code = may_run_code(settings, found.id)
        role = settings.role if found.private else None
        return ModelDirectory(wanted.name, found.path, revision=found.commit, remote_code=remote_code, role=role)

    def _key(self, wanted: Wanted) -> Key:
        settings = wanted.settings
        token = hashlib.blake2b((settings.token or "").encode(), key=self._secret).digest()
        where = (settings.endpoint, settings.offline, settings.cache, settings.role, token)
        return (*where, settings.trust_remote_code, wanted.name, wanted.revision, wanted.resume)

    def _remembered(self, key: Key) -> Found | None:
        found = self._found.get(key)
        if found is None or found.until < time.monotonic() or not Path(found.path).is_dir():
            return None
        return found

    def _wait(self, key: Key, wanted: Wanted, client: Client) -> Found:
        download = self._join(key, wanted)
        told = 0
        try:
            while True:
                ended = download.ended.wait(SECONDS_BETWEEN_LOOKS)
                for notice in download.notices[told:]:
                    client.notify(notice)
                    told += 1
                if ended:
                    break
                if client.cancelled():
                    raise Cancelled
        finally:
            self._leave(key, download)
        if (fault := download.fault) is not None:
            raise RuntimeFault(fault.message, sqlstate=fault.sqlstate, detail=fault.detail, hint=fault.hint) from fault
        assert download.found is not None
        return download.found

    def _join(self, key: Key, wanted: Wanted) -> Download:
        with self._lock:
            download = self._downloads.get(key)
            if download is None:
                download = self._downloads[key] = Download(waiting=1)
                threading.Thread(target=self._run, args=(key, wanted, download), daemon=True).start()
            else:
                download.waiting += 1
            return download

    def _leave(self, key: Key, download: Download) -> None:
        with self._lock:
            download.waiting -= 1
            if not download.waiting and self._downloads.get(key) is download:
                del self._downloads[key]  # it ends now, and who comes next wants another

    def _run(self, key: Key, wanted: Wanted, download: Download) -> None:
        try:
            found = self._ask(wanted, download)
            with self._lock:
                now = time.monotonic()
                self._found = {key: each for key, each in self._found.items() if each.until >= now} | {key: found}
            download.found = found
        except RuntimeFault as fault:
            download.fault = fault
        except Exception as error:  # noqa: BLE001 those who wait must be told
            download.fault = as_fault(error, f'find "{wanted.name}" on the Hub')
        finally:
            download.ended.set()

    def _ask(self, wanted: Wanted, download: Download) -> Found:
        hub = wanted.settings.as_request()
        request = {"op": "model", "repo": wanted.name, "revision": wanted.revision, "resume": wanted.resume, "hub": hub}
        next_notice = time.monotonic() + SECONDS_BETWEEN_NOTICES
        header: dict[str, Any] = {}
        for header, _ in self._errands.run(request, cancelled=lambda: not download.waiting):
            if "notice" in header:
                download.notices.append(str(header["notice"]))
            elif "progress" in header and time.monotonic() >= next_notice:
                next_notice = time.monotonic() + SECONDS_BETWEEN_NOTICES
                download.notices.append(_progress(wanted.name, header["progress"]))
        until = float("inf") if wanted.is_final else time.monotonic() + SECONDS_REMEMBERED
        return Found(header["path"], header["id"], header["commit"], bool(header["private"]), until)


def _progress(name: str, progress: dict[str, Any]) -> str:
    total = progress.get("total")
    of = f" of {total / 1e6:.0f}" if total else ""
    return f'downloading "{name}": {progress["bytes"] / 1e6:.0f}{of} MB'
