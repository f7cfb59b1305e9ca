"""The local Hub hands out files: whole, in ranges, and again where a connection broke."""

from __future__ import annotations

import json
import types
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from huggingface_hub import (
    HfFileSystem,
    constants,
    file_download,
    hf_hub_download,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import _http

MODEL = "distilbert/distilbert-base-uncased"
WEIGHTS = "model.safetensors"


@pytest.fixture
def options(hub, tmp_path):
    """What every download is told."""
    return {"endpoint": hub.endpoint, "cache_dir": tmp_path / "cache", "token": False}


def fetch(hub, path, method="GET", **headers):
    request = urllib.request.Request(hub.endpoint + path, headers=headers, method=method)
    return hub.opener.open(request)


def test_a_snapshot_has_every_file(hub_api, options):
    folder = Path(snapshot_download(MODEL, **options))
    assert folder.name == hub_api.model_info(MODEL).sha
    for file in hub_api.model_info(MODEL, files_metadata=True).siblings:
        assert len((folder / file.rfilename).read_bytes()) == file.size


def test_a_snapshot_is_loaded_once(hub, options):
    snapshot_download(MODEL, **options)
    hub.forget()
    snapshot_download(MODEL, **options)
    assert not [one for one in hub.requests if "/resolve/" in one.path and one.method == "GET"]


def test_a_download_goes_on_where_the_connection_broke(hub, options, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 14)  # less than a whole one is thrown away by the client
    monkeypatch.setattr(file_download, "time", types.SimpleNamespace(sleep=lambda seconds: None))
    hub.disturb(path=WEIGHTS, method="GET", cut_response=70_000)
    file = Path(hf_hub_download(MODEL, WEIGHTS, **options))
    broken, rest = [one for one in hub.requests if one.method == "GET" and one.path.endswith(WEIGHTS)]
    assert (broken.status, broken.complete, broken.sent) == (200, False, 70_000)
    assert (rest.status, rest.range, rest.complete) == (206, f"bytes={4 << 14}-", True)
    with fetch(hub, f"/{MODEL}/resolve/main/{WEIGHTS}") as answer:
        assert file.read_bytes() == answer.read()


def test_ranges(hub):
    path = f"/{MODEL}/resolve/main/{WEIGHTS}"
    with fetch(hub, path) as answer:
        whole = answer.read()
        assert answer.headers["ETag"] == answer.headers["X-Linked-Etag"]
        assert int(answer.headers["X-Linked-Size"]) == len(whole)
        assert len(answer.headers["X-Repo-Commit"]) == 40
    for asked, start, end in [("0-9", 0, 10), ("10-", 10, len(whole)), ("-5", len(whole) - 5, len(whole))]:
        with fetch(hub, path, Range=f"bytes={asked}") as answer:
            assert (answer.status, answer.read()) == (206, whole[start:end])
            assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(whole)}"
    with fetch(hub, path, "HEAD", Range="bytes=0-0") as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (206, "1")
    with pytest.raises(urllib.error.HTTPError) as error:
        fetch(hub, path, Range=f"bytes={len(whole)}-")
    with error.value:
        assert (error.value.code, error.value.headers["Content-Range"]) == (416, f"bytes */{len(whole)}")


def test_a_missing_file_is_remembered_as_missing(hub, hub_api, options):
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(MODEL, "adapter_config.json", **options)
    commit = hub_api.model_info(MODEL).sha
    known = try_to_load_from_cache(MODEL, "adapter_config.json", options["cache_dir"], revision=commit)
    assert known is not None
    assert not isinstance(known, str)


def test_the_file_system_reads_a_part(hub):
    files = HfFileSystem(endpoint=hub.endpoint, token=False, skip_instance_cache=True)
    with files.open("datasets/stanfordnlp/imdb/plain_text/train-00000-of-00001.parquet", "rb", block_size=64) as file:
        assert file.read(4) == b"PAR1"
    assert {one.status for one in hub.requests if one.range} == {206}


def test_names_with_odd_characters(hub, hub_api, options):
    name = hub_api.create_repo("tester/odd.name_1").repo_id
    path = "a folder/ä+%2F?#&.txt"
    hub_api.upload_file(path_or_fileobj=b"odd", path_in_repo=path, repo_id=name)
    hub_api.create_tag(name, tag="v1/final")
    assert Path(hf_hub_download(name, path, revision="v1/final", **options)).read_bytes() == b"odd"
    assert [item.path for item in hub_api.list_repo_tree(name, "a folder")] == [path]
    with pytest.raises(RevisionNotFoundError, match="→"):
        hub_api.model_info(name, revision="→")


def test_old_names_lead_to_the_new_ones(hub, hub_api, options):
    assert hub_api.dataset_info("imdb").id == "stanfordnlp/imdb"
    assert Path(hf_hub_download("distilbert-base-uncased", "config.json", **options)).is_file()
    assert 307 in [one.status for one in hub.requests]


def test_without_the_hub_there_is_what_was_loaded(hub, options, monkeypatch):
    monkeypatch.setattr(_http, "time", types.SimpleNamespace(sleep=lambda seconds: None))  # 23 s of patience
    file = hf_hub_download(MODEL, "config.json", **options)
    with hub.down():
        assert hf_hub_download(MODEL, "config.json", **options) == file
        with pytest.raises(LocalEntryNotFoundError):
            hf_hub_download(MODEL, "tokenizer.json", **options)
    assert json.loads(Path(hf_hub_download(MODEL, "tokenizer.json", **options)).read_text())
