"""Errand: have the files of a model in the cache. Knows nothing of what is in them.

{"op": "model", "repo": "org/name", "revision": "main"|null, "resume": whether checkpoints are wanted, "hub": {…}}
{"ok": true, "path": "…/snapshots/<commit>", "id": "org/name", "commit": "<commit>", "private": false}
"""

from __future__ import annotations

import glob
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx2
from huggingface_hub import HfApi, ModelInfo, hf_hub_url, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._validators import validate_repo_id

from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault
from pgml.runtime.hub import blobs, snapshots
from pgml.runtime.hub.blobs import Blob
from pgml.runtime.hub.client import SECONDS_FOR_A_LOOK, patiently
from pgml.runtime.hub.errors import as_hub_fault, is_out_of_reach, not_cached
from pgml.runtime.hub.policy import check_allowed, may_run_code
from pgml.runtime.hub.progress import reporting
from pgml.runtime.hub.settings import HubSettings, is_commit
from pgml.runtime.hub.snapshots import Snapshot
from pgml.runtime.hub.suggestions import suggest_repository, suggest_revision
from pgml.runtime.serving.directories import check_files

if TYPE_CHECKING:
    from pgml.runtime.hub.errand import Out


class Wish(NamedTuple):
    """What is asked for."""

    settings: HubSettings
    name: str
    revision: str | None
    checkpoints: bool


class Seen(NamedTuple):
    """A repository at a revision as the Hub describes it, and as whom it was asked."""

    info: ModelInfo
    token: str | None

    @property
    def is_private(self) -> bool:
        """Whether its files are for those who may read them only."""
        return bool(self.info.gated) or (self.token is not None and self.info.private is not False)


def run(request: dict[str, Any], payload: bytes, out: Out) -> dict[str, Any]:  # noqa: ARG001 errands have one signature
    """The answer, when all files are there."""
    settings = HubSettings.from_request(request["hub"])
    name, revision = str(request["repo"]), request.get("revision")
    check_allowed(settings, name)
    try:
        _check_names(name, revision)
        snapshot = _snapshot(Wish(settings, name, revision, bool(request.get("resume"))), out)
    except RuntimeFault:
        raise
    except Exception as error:
        fault = as_hub_fault(error, f'download "{name}" from the Hub', name)
        if isinstance(error, RevisionNotFoundError):
            fault.message = f'Hub repository "{name}" does not have revision "{revision}"'
            suggest_revision(fault, settings, "models", name, str(revision))
        elif type(error) is RepositoryNotFoundError:
            suggest_repository(fault, settings, "models", name)
        raise fault from error
    return {"path": str(snapshot.path), "id": snapshot.name, "commit": snapshot.commit, "private": snapshot.private}


def _snapshot(wish: Wish, out: Out) -> Snapshot:
    settings, name, revision, checkpoints = wish
    if settings.offline or (revision is not None and is_commit(revision)):
        cached = snapshots.find_cached(settings, name, revision, checkpoints=checkpoints)
        if cached is not None:
            return cached
        if settings.offline:
            raise not_cached(name)
    try:
        seen = patiently(lambda: _look(settings, name, revision))
    except (HfHubHTTPError, httpx2.TransportError) as error:
        if not is_out_of_reach(error):
            raise
        cached = snapshots.find_cached(settings, name, revision, checkpoints=checkpoints)
        if cached is None:
            raise
        reason = as_hub_fault(error, "ask the Hub").message
        out.notice(f'using "{name}" at commit {cached.commit[:12]}, which was downloaded before: {reason}')
        return cached
    return _download(wish, seen, out)


def _look(settings: HubSettings, name: str, revision: str | None) -> Seen:
    """What the Hub knows of the repository: asked as nobody first, so that what is public is known to be."""

    def ask(token: str | None) -> Seen:
        api = HfApi(endpoint=settings.endpoint, token=token or False)
        info = api.model_info(name, revision=revision, timeout=SECONDS_FOR_A_LOOK, files_metadata=True)
        return Seen(info, token)

    try:
        seen = ask(None)
    except (RepositoryNotFoundError, HfHubHTTPError) as error:
        if settings.token is None or error.response.status_code not in (401, 403, 404):
            raise
    else:
        if not seen.info.gated or settings.token is None:
            return seen
    return ask(settings.token)


def _download(wish: Wish, seen: Seen, out: Out) -> Snapshot:
    settings, name = wish.settings, wish.name
    own_name, commit = seen.info.id, str(seen.info.sha)
    validate_repo_id(own_name)
    check_allowed(settings, name, own_name)
    files = {file.rfilename: file for file in seen.info.siblings or ()}
    check_files({path for path in files if "/" not in path}, name)
    selection = snapshots.Selection(may_run_code(settings, own_name), wish.checkpoints)
    cache = settings.role_cache if seen.is_private else settings.public_cache
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = cache / repo_folder_name(repo_id=own_name, repo_type="model") / "snapshots" / commit
    snapshot = Snapshot(path, own_name, commit, seen.is_private)
    if not snapshots.is_complete(path, cache, own_name, selection):
        wanted = [files[file] for file in selection.of(files) if not (path / file).exists()]
        _fetch(settings, snapshot, wanted, seen.token, out)
    snapshots.keep_names(cache, snapshot, name, wish.revision)
    return snapshot


def _fetch(settings: HubSettings, snapshot: Snapshot, files: list[RepoSibling], token: str | None, out: Out) -> None:
    """Download files into the cache that the path of the snapshot is in."""
    folder = snapshot.path.parents[1]
    total = sum(file.size or 0 for file in files)
    out.notice(f'downloading "{snapshot.name}" from the Hub: {total / 1e6:.1f} MB')
    blobs.check_room(folder.parent, total)
    blobs.remove_leftovers(folder)
    bars = reporting(lambda done: out.progress("downloading", done, total))

    def url(file: RepoSibling) -> str:
        return hf_hub_url(snapshot.name, file.rfilename, revision=snapshot.commit, endpoint=settings.endpoint)

    large = [file for file in files if file.lfs and file.lfs.size >= blobs.LARGE]
    contents = [Blob(url(file), file.lfs.sha256, file.lfs.size) for file in large if file.lfs]
    blobs.fetch(folder, contents, build_hf_headers(token=token or False), bars)
    snapshot_download(
        snapshot.name,
        revision=snapshot.commit,
        cache_dir=folder.parent,
        endpoint=settings.endpoint,
        token=token or False,
        allow_patterns=[glob.escape(file.rfilename) for file in files],
        max_workers=blobs.DOWNLOADS_AT_ONCE,
        tqdm_class=bars,
    )


def _check_names(name: str, revision: str | None) -> None:
    validate_repo_id(name)
    # It becomes a path in the cache. Git allows none of these either.
    if revision is not None and (not revision or revision.startswith("/") or ".." in revision or "\0" in revision):
        raise RuntimeFault(
            f'"{revision}" is not a revision of a Hub repository',
            sqlstate=INVALID_PARAMETER_VALUE,
            hint="Name a branch, a tag or a commit, or leave the revision out.",
        )
