"""Answer requests that work with the Hub, by errands. Knows nothing of sockets and tables, and no library."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgml.runtime.hub.errands import Errands
from pgml.runtime.hub.settings import HubSettings
from pgml.runtime.serving.directories import pgml_settings
from pgml.runtime.serving.models import ModelDirectory
from pgml.runtime.serving.pulled import describe
from pgml.runtime.serving.store import link_files

if TYPE_CHECKING:
    from pgml.runtime.serving.client import Answer, Client

DirectoryOf = Callable[[dict[str, Any], "Client"], AbstractContextManager[ModelDirectory]]


class HubOperations:
    """The operations. `directory_of` gives the directory of a model of a request, as long as the context."""

    def __init__(self, errands: Errands, directory_of: DirectoryOf) -> None:
        self._errands = errands
        self._directory_of = directory_of

    def load_dataset(self, header: dict[str, Any], payload: bytes, client: Client) -> Answer:
        """Rows of a data set, as they come."""
        return self._relay(header, payload, client)

    def push_to_hub(self, header: dict[str, Any], payload: bytes, client: Client) -> Answer:
        """Push a stored model with its card; which repository it goes to is told first."""
        from pgml.runtime.hub.card import model_card  # noqa: PLC0415 imports huggingface_hub

        hub, private = header.get("hub"), bool(header.get("private"))
        asked = {"repo_id": header.get("repo_id"), "project": header.get("project")}
        repository = self._ask({"op": "check_push", "hub": hub, **asked}, client)["repo_id"]
        cache = HubSettings.from_request(hub).cache
        with self._directory_of(header["model"], client) as directory, _temporary(cache) as temporary:
            folder = temporary / "model"
            link_files(Path(directory.path), folder)
            base = pgml_settings(directory.path, directory.name).get("base") or {}
            card = {**header["card"], "base_revision": header["card"].get("base_revision") or base.get("revision")}
            (folder / "README.md").write_text(model_card(card, repository))
            where = {"repo_id": repository, "private": private, "revision": header.get("revision")}
            request = {"op": "push", "hub": hub, "folder": str(folder), "message": "Push the model", **where}
            pushed = self._ask(request, client)
        return pushed, b""

    def pull_from_hub(self, header: dict[str, Any], payload: bytes, client: Client) -> Answer:
        """Download a model, and tell what of it is to be stored and for which task."""
        with self._directory_of(header["model"], client) as directory:
            return {"ok": True, **describe(directory, client.cancelled)}, b""

    def _ask(self, request: dict[str, Any], client: Client) -> dict[str, Any]:
        """The last frame of an errand; what it tells is passed on."""
        header: dict[str, Any] = {}
        for header, _ in self._errands.run(request, cancelled=client.cancelled):
            if "notice" in header:
                client.notify(header["notice"])
        return header

    def _relay(self, request: dict[str, Any], payload: bytes, client: Client) -> Answer:
        """Pass on what an errand says; the last of it is the answer. It ends when the client is gone."""
        with closing(self._errands.run(request, payload, client.cancelled)) as frames:
            for frame, data in frames:
                if frame.get("ok"):
                    return frame, data
                client.relay(frame, data)
        raise AssertionError("an errand ends with an answer or a fault")


@contextmanager
def _temporary(cache: Path) -> Iterator[Path]:
    """A directory beside what was downloaded, where there is room for a model."""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pushing-", dir=cache) as path:
        yield Path(path)
