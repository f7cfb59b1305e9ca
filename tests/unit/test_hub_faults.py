"""The local Hub fails when it is told to, and the clients notice."""

from __future__ import annotations

import json
import time
import types
import urllib.error
import urllib.request

import httpx2
import pytest
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import BadRequestError, EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils import _http

# huggingface_hub gives httpx2 a file in a way that is no longer wanted.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")
MODEL = "distilbert/distilbert-base-uncased"


@pytest.fixture
def waits(monkeypatch):
    """How long the client would have waited between its attempts; it does not."""
    waits = []
    monkeypatch.setattr(_http, "time", types.SimpleNamespace(sleep=waits.append))
    return waits


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, None, BadRequestError),
        (401, None, HfHubHTTPError),
        (401, "RepoNotFound", RepositoryNotFoundError),
        (403, None, HfHubHTTPError),
        (404, None, RepositoryNotFoundError),
        (404, "EntryNotFound", EntryNotFoundError),
        (412, None, HfHubHTTPError),
        (500, None, HfHubHTTPError),
    ],
)
def test_any_status(hub, hub_api, status, code, error):
    hub.fail(status, "^/api/models/", code=code, message="as told")
    with pytest.raises(error, match="as told") as raised:
        hub_api.model_info(MODEL)
    assert raised.value.response.status_code == status
    assert hub_api.model_info(MODEL).id == MODEL


def test_too_many_requests_are_tried_again_when_the_hub_says(hub, hub_api, waits):
    hub.fail(429, "/tree/", times=2)
    hub.fail(429, "/tree/", headers={"Retry-After": "7"})
    assert list(hub_api.list_repo_tree(MODEL))
    assert [one.status for one in hub.requests] == [429, 429, 429, 200]
    assert waits == [2, 2, 8]


def test_a_push_outlives_a_server_that_stumbles(hub, hub_api, waits):
    name = hub_api.create_repo("tester/stumbles").repo_id
    hub.fail(500, "/preupload/", times=2)
    hub.fail(503, "^/-/lfs/", method="PUT")
    hub_api.upload_file(path_or_fileobj=b"\0" * 1000, path_in_repo="weights.bin", repo_id=name)
    assert hub_api.file_exists(name, "weights.bin")
    assert waits == [1, 2, 1]


def test_the_first_requests_can_be_spared(hub, hub_api):
    hub.fail(403, "/api/models", skip=1, times=None)
    assert hub_api.model_info(MODEL)
    for _ in range(2):
        with pytest.raises(HfHubHTTPError, match="403"):
            hub_api.model_info(MODEL)
    hub.heal()
    assert hub_api.model_info(MODEL)


def test_a_broken_upload_leaves_nothing(hub, hub_api, waits, tmp_path):
    name = hub_api.create_repo("tester/broken").repo_id
    before = sorted(hub.directory.rglob("*"))
    hub.disturb(path="^/-/lfs/", method="PUT", cut_request=100_000, times=None)
    file = tmp_path / "weights.bin"
    file.write_bytes(b"\1" * 3_000_000)
    with pytest.raises(RuntimeError, match="Error while uploading") as error:
        hub_api.upload_file(path_or_fileobj=file, path_in_repo="weights.bin", repo_id=name)
    assert isinstance(error.value.__cause__, httpx2.TransportError)
    assert [one.status for one in hub.requests if one.method == "PUT"] == [None] * 6
    assert hub_api.list_repo_files(name) == [".gitattributes"]
    assert sorted(hub.directory.rglob("*")) == before


def test_a_connection_breaks_before_the_answer(hub, hub_api, waits):
    hub.disturb(path="/api/whoami", cut_response=0)
    with pytest.raises(httpx2.RemoteProtocolError):
        hub_api.whoami()
    assert hub_api.whoami()["name"] == "tester"
    assert [(one.status, one.complete) for one in hub.requests] == [(None, False), (200, True)]


def test_answers_are_slow(hub, tmp_path):
    options = {"endpoint": hub.endpoint, "cache_dir": tmp_path, "token": False}
    hub.disturb(path="config.json", method="HEAD", delay=0.3)
    start = time.monotonic()
    hf_hub_download(MODEL, "config.json", **options)
    assert time.monotonic() - start > 0.3
    hub.disturb(path="model.safetensors", method="GET", bytes_per_second=400_000)
    start = time.monotonic()
    hf_hub_download(MODEL, "model.safetensors", **options)
    assert time.monotonic() - start > 175_000 / 400_000


def test_a_delayed_answer_ends_with_the_clients_patience(hub, hub_api):
    hub.disturb(path="/api/models/", delay=0.5)
    with pytest.raises(httpx2.ReadTimeout):
        hub_api.model_info(MODEL, timeout=0.1)
    time.sleep(0.6)
    assert [(one.status, one.complete) for one in hub.requests] == [(None, False)]


def test_faults_are_for_those_who_know_the_secret(hub):
    for headers in ({}, {"X-Hub-Secret": "guessed"}):
        request = urllib.request.Request(f"{hub.endpoint}/-/admin/requests", headers=headers)
        with pytest.raises(urllib.error.HTTPError) as error:
            hub.opener.open(request)
        with error.value:
            assert error.value.code == 403
    control = hub.directory / "control.json"
    assert json.loads(control.read_text())["endpoint"] == hub.endpoint
    assert control.stat().st_mode & 0o777 == 0o600
