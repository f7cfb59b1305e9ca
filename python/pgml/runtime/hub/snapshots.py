"""What of a repository is downloaded, and what of it is there already. Asks nobody.

<cache>/public/models--org--name/snapshots/<commit>/…    for everybody
<cache>/roles/<role>/models--org--name/…                 private and gated repositories, for one role
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import get_cached_repo_tree
from huggingface_hub.errors import CachedRepoTreeNotFoundError
from huggingface_hub.file_download import repo_folder_name

from pgml.runtime.hub.policy import check_allowed, may_run_code
from pgml.runtime.hub.settings import HubSettings, is_commit

DEFAULT_REVISION = "main"
WEIGHTS = "*.safetensors"
WANTED = (
    *(WEIGHTS, "*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.vocab"),
    *("README.md", "LICENSE*"),
)
FOLDERS = re.compile(r"\d+_\w+|additional_chat_templates")
"""Parts of sentence-transformers, and templates. What else lies in folders is the same weights for other programs."""
TWINS = ("consolidated*.safetensors",)
"""The weights of Mistral's and Meta's own programs, beside those of transformers."""
CHECKPOINTS = re.compile(r"last-checkpoint|checkpoint-\d+")
OF_CHECKPOINTS = (WEIGHTS, "*.json", "optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth")


class Snapshot(NamedTuple):
    """Files of a repository at a commit, complete, in a directory."""

    path: Path
    name: str
    commit: str
    private: bool


class Selection(NamedTuple):
    """Which files of a repository are wanted: those a model is loaded from, and what people want to know of it.

    Pickles are not, but for the state of an optimizer, which is read as numbers only.
    """

    code: bool = False
    checkpoints: bool = False

    def of(self, files: Iterable[str]) -> list[str]:
        """Those of the files that are wanted."""
        return [file for file in files if self._has(file)]

    def _has(self, file: str) -> bool:
        folder, _, name = file.rpartition("/")
        if name.endswith(".py"):
            return self.code
        if CHECKPOINTS.fullmatch(folder):
            return self.checkpoints and _fits(name, OF_CHECKPOINTS)
        return (not folder or FOLDERS.fullmatch(folder) is not None) and _fits(name, WANTED) and not _fits(name, TWINS)


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def find_cached(
    settings: HubSettings, name: str, revision: str | None, *, checkpoints: bool = False
) -> Snapshot | None:
    """What an earlier download left of a revision, if it is complete: for everybody first, then for the role."""
    for cache in (settings.public_cache, settings.role_cache):
        folder = (cache / repo_folder_name(repo_id=name, repo_type="model")).resolve()
        reference = folder / "refs" / (revision or DEFAULT_REVISION)
        if revision is not None and is_commit(revision):
            commit = revision
        elif reference.is_file():
            commit = reference.read_text().strip()
        else:
            continue
        own_name = folder.name.removeprefix("models--").replace("--", "/")
        check_allowed(settings, name, own_name)
        path = folder / "snapshots" / commit
        selection = Selection(may_run_code(settings, own_name), checkpoints)
        if is_complete(path, cache, own_name, selection):
            return Snapshot(path, own_name, commit, cache == settings.role_cache)
    return None


def is_complete(path: Path, cache: Path, name: str, selection: Selection) -> bool:
    """Whether all wanted files are there; of a snapshot that was brought here otherwise, whatever is there is all."""
    if not path.is_dir():
        return False
    try:
        listed = get_cached_repo_tree(name, revision=path.name, cache_dir=cache)
    except CachedRepoTreeNotFoundError:
        return True
    return all((path / file).exists() for file in selection.of(each.path for each in listed))


def keep_names(cache: Path, snapshot: Snapshot, name: str, revision: str | None) -> None:
    """Let the name and revision by which a snapshot was asked for lead to it when the Hub is not asked."""
    folder = cache / repo_folder_name(repo_id=snapshot.name, repo_type="model")
    if revision is None or not is_commit(revision):
        reference = folder / "refs" / (revision or DEFAULT_REVISION)
        reference.parent.mkdir(parents=True, exist_ok=True)
        temporary = reference.with_name(f"{reference.name}.{uuid.uuid4().hex}.tmp")
        temporary.write_text(snapshot.commit)
        temporary.replace(reference)
    former = cache / repo_folder_name(repo_id=name, repo_type="model")
    if former != folder and (former.is_symlink() or not former.exists()):
        temporary = former.with_name(f"{former.name}.{uuid.uuid4().hex}.tmp")
        temporary.symlink_to(folder.name)
        temporary.replace(former)
