"""What goes wrong at the Hub is told as PostgreSQL tells errors, with what the Hub itself says."""

from __future__ import annotations

import errno
import os
import types
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.utils import _http

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.hub.errors import as_hub_fault, is_out_of_reach

MODEL = "distilbert/distilbert-base-uncased"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """The client does not wait between its attempts."""
    monkeypatch.setattr(_http, "time", types.SimpleNamespace(sleep=lambda seconds: None))


def raised(function, *args, **kwargs):
    with pytest.raises(Exception) as caught:  # noqa: PT011 what it is, is the question
        function(*args, **kwargs)
    return caught.value


def fault_of(function, *args, **kwargs):
    return as_hub_fault(raised(function, *args, **kwargs), "do it", MODEL)


@pytest.mark.parametrize(
    ("status", "code", "sqlstate", "message"),
    [
        (400, None, "22023", f'Hub refuses the request about "{MODEL}"'),
        (401, "RepoNotFound", "42704", f'Hub repository "{MODEL}" does not exist, or may not be read'),
        (401, "GatedRepo", "42501", f'Hub repository "{MODEL}" is gated'),
        (403, "GatedRepo", "42501", f'Hub repository "{MODEL}" is gated'),
        (403, None, "42501", f'Hub refuses access to "{MODEL}"'),
        (404, "RepoNotFound", "42704", f'Hub repository "{MODEL}" does not exist, or may not be read'),
        (404, "RevisionNotFound", "42704", f'Hub repository "{MODEL}" does not have this revision'),
        (404, "EntryNotFound", "58P01", f'Hub repository "{MODEL}" lacks a file'),
        (429, None, "08006", "Hub has been asked too often"),
        (500, None, "08006", "Hub is out of order"),
        (503, None, "08006", "Hub is out of order"),
    ],
)
def test_every_refusal(hub, hub_api, status, code, sqlstate, message):
    hub.fail(status, "^/api/models/", code=code, message="As told.")
    fault = fault_of(hub_api.model_info, MODEL)
    assert (fault.sqlstate, fault.message, fault.detail) == (
        sqlstate,
        message,
        f"The Hub answered {status}: As told.",
    )


def test_a_wrong_token(hub):
    fault = fault_of(HfApi(endpoint=hub.endpoint, token="hf_unknown").model_info, MODEL)
    assert (fault.sqlstate, fault.message) == ("42501", "Hub does not accept the access token")
    assert fault.detail == "The Hub answered 401: Invalid credentials in Authorization header."
    assert "pgml.set_secret" in fault.hint


def test_when_to_come_back(hub, hub_api):
    hub.fail(429, "^/api/models/", headers={"Retry-After": "7"})
    assert fault_of(hub_api.model_info, MODEL).hint.startswith("Try again in 7 seconds.")


def test_nobody_listens(hub, hub_api):
    with hub.down():
        error = raised(hub_api.model_info, MODEL)
    fault = as_hub_fault(error, "do it")
    assert is_out_of_reach(error)
    assert (fault.sqlstate, fault.message) == ("08006", "could not connect to the Hub")
    assert fault.detail.endswith(f"({hub.endpoint})")


def test_an_answer_that_takes_too_long(hub, hub_api):
    hub.disturb(path="/api/models/", delay=0.5)
    error = raised(hub_api.model_info, MODEL, timeout=0.1)
    assert is_out_of_reach(error)
    assert as_hub_fault(error, "do it").message == "Hub did not answer in time"


def test_a_connection_that_breaks(hub, hub_api):
    hub.disturb(path="/api/models/", cut_response=0)
    fault = fault_of(hub_api.model_info, MODEL)
    assert (fault.sqlstate, fault.message) == ("08006", "connection to the Hub broke")


def test_an_address_that_is_none():
    fault = fault_of(httpx2.get, "gopher://x")
    assert (fault.sqlstate, fault.message) == ("0A000", "cannot speak to the Hub at this address")


def test_why_something_is_not_in_the_cache(hub, tmp_path):
    options = {"endpoint": hub.endpoint, "cache_dir": tmp_path, "token": False}
    fault = fault_of(hf_hub_download, MODEL, "config.json", **options, local_files_only=True)
    assert (fault.sqlstate, fault.message) == (
        "42704",
        f'files of Hub repository "{MODEL}" are not in the cache, and the Hub is not asked',
    )
    with hub.down():
        assert fault_of(snapshot_download, MODEL, **options).message == "could not connect to the Hub"
    hub.fail(500, times=None)
    assert fault_of(snapshot_download, MODEL, **options).message == "Hub is out of order"


def test_a_name_that_is_none(hub_api):
    fault = as_hub_fault(raised(hub_api.model_info, "a/b/c"), "do it", "a/b/c")
    assert (fault.sqlstate, fault.message) == ("22023", '"a/b/c" is not a name of a Hub repository')
    assert fault.detail.startswith("Repo id must be in the form")


def test_a_disk_that_is_full():
    with Path("/dev/full").open("wb", buffering=0) as full:
        fault = fault_of(full.write, b"x")
    assert (fault.sqlstate, fault.message) == ("53100", "no space is left for files of the Hub")
    assert "pgml.hub_cache" in fault.hint
    wrapped = RuntimeError("could not write")
    wrapped.__cause__ = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
    assert as_hub_fault(wrapped, "do it").sqlstate == "53100"


def test_a_file_of_the_wrong_size():
    error = OSError("Consistency check failed: file should be of size 2 but has size 1 (x).")
    assert as_hub_fault(error, "do it").sqlstate == "08006"


def test_anything_else_is_told_by_its_last_line():
    fault = as_hub_fault(KeyError("x"), "do it")
    assert (fault.sqlstate, fault.message, fault.detail) == ("XX000", "could not do it", "KeyError: 'x'")
    known = RuntimeFault("known")
    assert as_hub_fault(known, "do it") is known
