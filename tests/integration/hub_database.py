"""A database whose pgml speaks to a Hub of the tests, and repositories. Knows nothing of what tests do with them."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, constants
from psycopg import sql
from tests.cluster import Cluster, Database, drop_database, make_database
from tests.hub.running import RunningHub

WRITER = "hf_writer"
"""A token of the user tester; see tests/hub/README.md."""


def set_for_all(database: Database, **settings: Any) -> None:
    """Settings of all new sessions; names are written with `__` for a dot."""
    with database.connect() as connection:
        connection.execute("LOAD 'pgml'")  # before it the settings of pgml are unknown
        for name, value in settings.items():
            change = sql.SQL("ALTER DATABASE {} SET {} = {}")
            parts = sql.Identifier(database.name), sql.Identifier(*name.split("__")), sql.Literal(str(value))
            connection.execute(change.format(*parts))


@contextlib.contextmanager
def connected_to(hub: RunningHub, cluster: Cluster, **settings: Any) -> Iterator[Database]:
    """A database that uses the Hub, with a cache of its own."""
    database = make_database(cluster)
    set_for_all(database, pgml__hub_endpoint=hub.endpoint, pgml__hub_offline="off", pgml__hub_cache=cache_of(database))
    set_for_all(database, **settings)
    try:
        yield database
    finally:
        drop_database(database)


def cache_of(database: Database) -> Path:
    """Where what it downloads lies; the server makes the directory."""
    return database.cluster.root / f"hub-of-{database.name}"


@contextlib.contextmanager
def client_of(hub: RunningHub, token: str = WRITER) -> Iterator[HfApi]:
    """A client of the Hub in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield HfApi(endpoint=hub.endpoint, token=token)


def copy_to_private(hub: RunningHub, source: str, name: str, change: Callable[[Path], None] | None = None) -> None:
    """Push what one repository has to a private one, changed before."""
    with client_of(hub) as api, tempfile.TemporaryDirectory() as folder:
        _download(api, source, folder)
        if change:
            change(Path(folder))
        api.create_repo(name, private=True)
        api.upload_folder(repo_id=name, folder_path=folder)


def _download(api: HfApi, name: str, folder: str, revision: str | None = None) -> None:
    with tempfile.TemporaryDirectory() as cache:  # and not that of the user
        api.snapshot_download(name, revision=revision, local_dir=folder, cache_dir=cache)
    shutil.rmtree(Path(folder, ".cache"))


def on_base(base: str) -> Callable[[Path], None]:
    """A change that puts an adapter on another base."""

    def change(folder: Path) -> None:
        file = folder / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": base}))

    return change


def pushed_files(hub: RunningHub, name: str, revision: str | None = None) -> dict[str, bytes]:
    """What the Hub has of a repository."""
    with client_of(hub, "YOUR_HUB_TOKEN" if name.startswith("santiadavani/") else WRITER) as api:
        paths = api.list_repo_files(name, revision=revision)
        with tempfile.TemporaryDirectory() as folder:
            _download(api, name, folder, revision)
            return {path: Path(folder, path).read_bytes() for path in paths}


def downloads(hub: RunningHub, suffix: str = "safetensors") -> list[str]:
    """The files of a kind that the Hub was asked for."""
    return [one.path for one in hub.requests if one.method == "GET" and one.path.endswith(suffix)]
