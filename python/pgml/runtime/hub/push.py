"""Errand: push a folder to a repository of the Hub, and make the repository if need be.

What is there already is not sent again: the same folder twice is one commit. Knows nothing of models but which files
are a part of one, and which could run code.
"""

from __future__ import annotations

import glob
import json
import time
import warnings
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._http import parse_ratelimit_headers

from pgml.runtime.errors import CONNECTION_FAILURE, RuntimeFault
from pgml.runtime.hub.check_push import api_to_push
from pgml.runtime.hub.client import SECONDS_FOR_A_LOOK
from pgml.runtime.hub.errors import as_hub_fault

if TYPE_CHECKING:
    from pgml.runtime.hub.errand import Out

PAUSES = (1, 2, 4, 8)
"""Seconds between attempts, if the Hub does not ask for more."""
LONGEST_PAUSE = 60
PICKLES = (".bin", ".ckpt", ".h5", ".joblib", ".msgpack", ".pickle", ".pkl", ".pt", ".pth")
TRAINING_STATE = ("optimizer.pt", "rng_state.pth", "scaler.pt", "scheduler.pt")
"""Pickles without which a checkpoint cannot be gone on from. They are never pushed beside a model, only in a folder."""
PARTS_OF_A_MODEL = ("adapter_config.json", "chat_template.jinja", "config.json", "generation_config.json", "pgml.json")


def run(request: dict[str, Any], payload: bytes, out: Out) -> dict[str, Any]:  # noqa: ARG001 as all errands
    """Push, and say where to and which commit has the files; `again` says whether to try more than once."""
    api = api_to_push(request["hub"])
    for pause in (*(PAUSES if request.get("again", True) else ()), None):
        try:
            return _push(api, request, out)
        except Exception as error:
            fault = _fault(error, request["repo_id"])
            if fault.sqlstate != CONNECTION_FAILURE or pause is None:
                raise fault from error
            seconds = max(pause, _asked_pause(error))
            out.notice(f"{fault.message}; trying again in {seconds} s")
            time.sleep(seconds)
    raise AssertionError("the last attempt ends the loop")


def _push(api: HfApi, request: dict[str, Any], out: Out) -> dict[str, Any]:
    name, private, revision = request["repo_id"], bool(request.get("private")), request.get("revision")
    url = api.create_repo(name, private=private, exist_ok=True)
    is_private = bool(api.model_info(name, timeout=SECONDS_FOR_A_LOOK).private)
    if private and not is_private:
        out.notice(f'repository "{name}" was there before, and everybody can read it')
    if revision:
        api.create_branch(name, branch=revision, exist_ok=True)
    folder = Path(request["folder"])
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    refused = [file for file in files if is_refused(file)]
    total = sum(size for file, size in files.items() if file not in refused)
    out.progress("uploading", 0, total)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata in the card that the Hub misses
        commit = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            revision=revision,
            commit_message=request["message"],
            ignore_patterns=[glob.escape(file) for file in refused],
            delete_patterns=[glob.escape(file) for file in _former_parts(api, name, revision, set(files))] or None,
        )
    out.progress("uploading", total, total)
    return {"repo_id": name, "url": str(url), "commit": commit.oid, "private": is_private}


def is_refused(file: str) -> bool:
    """Whether a file of the folder stays here, because whoever reads it may run code that is in it.

    >>> is_refused("model.safetensors"), is_refused("pytorch_model.bin"), is_refused("optimizer.pt")
    (False, True, True)
    >>> is_refused("last-checkpoint/optimizer.pt"), is_refused("last-checkpoint/training_args.bin")
    (False, True)
    """
    path = PurePosixPath(file)
    if path.suffix.lower() not in PICKLES:
        return False
    return path.name not in TRAINING_STATE or path.parent == PurePosixPath()


def _former_parts(api: HfApi, name: str, revision: str | None, files: set[str]) -> list[str]:
    """What there is of a former model that the new one does not replace: it would be taken for a part of the new."""
    return [
        file
        for file in api.list_repo_files(name, revision=revision)
        if "/" not in file
        and file not in files
        and (file in PARTS_OF_A_MODEL or file.endswith((".safetensors", ".safetensors.index.json")))
    ]


def _fault(error: Exception, name: str) -> RuntimeFault:
    if isinstance(error, json.JSONDecodeError):
        # A gateway before the Hub answers with a page when the Hub does not.
        return RuntimeFault("Hub is out of order", sqlstate=CONNECTION_FAILURE, detail="Its answer is not JSON.")
    return as_hub_fault(error, f"push to {name}", name)


def _asked_pause(error: BaseException | None) -> int:
    """Seconds that the Hub asks to wait."""
    if error is None:
        return 0
    if not isinstance(error, HfHubHTTPError):
        return _asked_pause(error.__cause__)
    limit = parse_ratelimit_headers(error.response.headers)
    return min(limit.reset_in_seconds, LONGEST_PAUSE) if limit and not limit.remaining else 0
