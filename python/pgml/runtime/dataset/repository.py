"""A data set of the Hub: its name, its commit, its files, in the cache or read from afar. Knows nothing of formats."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import HfApi, get_cached_repo_tree, hf_hub_download, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils._validators import validate_repo_id

from pgml.runtime.dataset.layout import CARDS
from pgml.runtime.errors import RuntimeFault
from pgml.runtime.hub.client import SECONDS_FOR_A_LOOK, patiently
from pgml.runtime.hub.errors import as_hub_fault, is_out_of_reach, not_cached
from pgml.runtime.hub.policy import check_allowed
from pgml.runtime.hub.progress import reporting
from pgml.runtime.hub.settings import HubSettings
from pgml.runtime.hub.suggestions import suggest_repository, suggest_revision

if TYPE_CHECKING:
    from pgml.runtime.hub.errand import Out

KIND = "dataset"
DOWNLOADS_AT_ONCE = 8


class Repository:
    """One commit of a repository."""

    def __init__(self, settings: HubSettings, name: str, revision: str | None, cache: Path) -> None:
        self.name = name
        self.settings = settings
        self._cache = cache
        self._token = settings.token or False
        snapshot = snapshot_download(
            name,
            repo_type=KIND,
            revision=revision,
            cache_dir=cache,
            token=self._token,
            allow_patterns=list(CARDS),
            local_files_only=settings.offline,
        )
        self._snapshot = Path(snapshot)
        self.commit = self._snapshot.name
        tree = get_cached_repo_tree(name, repo_type=KIND, revision=self.commit, cache_dir=cache)
        self._sizes = {file.path: file.size for file in tree}

    @property
    def names(self) -> list[str]:
        """The names of all files."""
        return sorted(self._sizes)

    def read(self, name: str) -> str:
        """The text of one of the files that describe the data set."""
        return (self._snapshot / name).read_text()

    def location(self, name: str) -> str:
        """Where a file can be read: in the cache, or else at the Hub."""
        path = self._snapshot / name
        return str(path) if path.exists() else f"hf://datasets/{self.name}@{self.commit}/{name}"

    def download(self, names: Iterable[str], out: Out) -> None:
        """Bring files into the cache, as far as they are not there."""
        missing = [name for name in names if not (self._snapshot / name).exists()]
        if not missing:
            return
        if self.settings.offline:
            raise not_cached(self.name)
        total = sum(self._sizes[name] for name in missing)
        bars = reporting(lambda done: out.progress("downloading", done, total))
        fetch = partial(
            hf_hub_download,
            self.name,
            repo_type=KIND,
            revision=self.commit,
            cache_dir=self._cache,
            token=self._token,
            tqdm_class=bars,
        )
        pool = ThreadPoolExecutor(DOWNLOADS_AT_ONCE)
        try:
            for _ in pool.map(fetch, missing):
                pass
        finally:
            # After a failure the others are not waited for: the process ends, and they go on at another time.
            pool.shutdown(wait=False, cancel_futures=True)


def find(settings: HubSettings, name: str, revision: str | None, out: Out) -> Repository:
    """The repository of a name, which may be an old one or lack its owner."""
    check_allowed(settings, name)
    _check_name(name)
    if settings.offline:
        repository = _cached(settings, name, revision)
        if repository is None:
            raise not_cached(name)
        return repository
    try:
        info = patiently(
            lambda: HfApi().dataset_info(
                name, revision=revision, timeout=SECONDS_FOR_A_LOOK, token=settings.token or False
            )
        )
        check_allowed(settings, name, info.id)
        _check_name(info.id)
        # What the Hub does not call public is kept apart if a token was needed to see it, for all one knows.
        is_private = info.gated or (settings.token is not None and info.private is not False)
        cache = settings.role_cache if is_private else settings.public_cache
        repository = Repository(settings, info.id, revision, cache)
    except RuntimeFault:
        raise
    except Exception as error:
        repository = _cached(settings, name, revision) if is_out_of_reach(error) else None
        if repository is None:
            raise _fault(error, settings, name, revision) from error
        out.notice(f'Hub is out of reach; files of data set "{name}" from the cache are used')
        return repository
    _remember_name(cache, name, info.id)
    return repository


def _check_name(name: str) -> None:
    try:
        validate_repo_id(name)
    except ValueError as error:
        raise as_hub_fault(error, f'find data set "{name}"', name) from error


def _fault(error: Exception, settings: HubSettings, name: str, revision: str | None) -> RuntimeFault:
    fault = as_hub_fault(error, f'find data set "{name}"', name)
    if isinstance(error, RevisionNotFoundError):
        suggest_revision(fault, settings, "datasets", name, str(revision))
    elif isinstance(error, RepositoryNotFoundError) and not isinstance(error, GatedRepoError):
        suggest_repository(fault, settings, "datasets", name)
    return fault


def _cached(settings: HubSettings, name: str, revision: str | None) -> Repository | None:
    """What was loaded before: by anybody, if it is public, or by the role."""
    for cache in (settings.public_cache, settings.role_cache):
        folder = (cache / repo_folder_name(repo_id=name, repo_type=KIND)).resolve()
        if folder.is_dir():
            canonical = "/".join(folder.name.split("--")[1:])
            check_allowed(settings, canonical)
            try:
                return Repository(settings, canonical, revision, cache)
            except (OSError, ValueError):
                continue
    return None


def _remember_name(cache: Path, name: str, canonical: str) -> None:
    """Let an old name be found without the Hub too."""
    link, folder = (cache / repo_folder_name(repo_id=each, repo_type=KIND) for each in (name, canonical))
    if link != folder and not link.exists():
        with contextlib.suppress(FileExistsError):
            link.symlink_to(folder.name)
