"""Pushing a folder: what lands on the Hub, what does not, and what is said when it cannot be."""

from __future__ import annotations

import base64
import functools
import os
import shutil
from pathlib import Path

import pytest
from hub_requests import hub_object

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.hub.check_push import check_push
from pgml.runtime.hub.errands import Errand
from pgml.runtime.hub.names import default_name

SECRET = "hf_veryverysecretWriter0123"


@pytest.fixture
def hub_of(hub, tmp_path_factory):
    """Makes the "hub" object of a request."""
    return functools.partial(hub_object, hub, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def folder(tmp_path):
    """A model's folder, with files that must stay here."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["BertForSequenceClassification"]}')
    (folder / "model.safetensors").write_bytes(os.urandom(100_000))
    for pickle in ("training_args.bin", "pytorch_model.bin", "optimizer.pt", "rng_state.pth"):
        (folder / pickle).write_bytes(b"\x80pickle")
    return folder


@pytest.fixture
def name(request):
    """The name of a repository that only this test uses."""
    return default_name(request.node.name)[:80]


def push(hub, name, folder, **changes):
    request = {"op": "push", "repo_id": name, "private": True, "folder": str(folder), "message": "Push", **changes}
    with Errand.start(hub, request) as errand:
        *frames, (last, _) = errand.frames()
    return last, [header["notice"] for header, _ in frames if "notice" in header]


def check(hub, repo_id=None, project="reviews"):
    return check_push(hub, repo_id, project)


def fault_of(function, *args, **changes):
    with pytest.raises(RuntimeFault) as caught:
        function(*args, **changes)
    return caught.value


def test_a_push_makes_a_private_repository_without_pickles(hub_of, hub, hub_api, folder, name):
    answer, _ = push(hub_of(), f"tester/{name}", folder)
    info = hub_api.model_info(f"tester/{name}")
    assert answer == {
        "ok": True,
        "repo_id": f"tester/{name}",
        "url": f"{hub.endpoint}/tester/{name}",
        "commit": info.sha,
        "private": True,
    }
    assert info.private
    assert [file.rfilename for file in info.siblings] == [".gitattributes", "config.json", "model.safetensors"]


def test_the_same_folder_again_uploads_nothing_and_gives_the_same_commit(hub_of, hub, folder, name):
    first, _ = push(hub_of(), f"tester/{name}", folder)
    hub.forget()
    second, _ = push(hub_of(), f"tester/{name}", folder)
    assert first == second
    assert not [one for one in hub.requests if one.method == "PUT" or "/commit/" in one.path]


def test_a_changed_file_makes_a_commit_with_its_message(hub_of, hub_api, folder, name):
    push(hub_of(), f"tester/{name}", folder)
    (folder / "config.json").write_text("{}")
    answer, _ = push(hub_of(), f"tester/{name}", folder, message="Change the configuration")
    newest, *_ = hub_api.list_repo_commits(f"tester/{name}")
    assert (newest.commit_id, newest.title) == (answer["commit"], "Change the configuration")


def test_what_an_adapter_replaces_goes_and_what_belongs_to_others_stays(hub_of, hub_api, folder, name, tmp_path):
    repository = f"tester/{name}"
    push(hub_of(), repository, folder)
    hub_api.upload_file(path_or_fileobj=b"mine", path_in_repo="notes.txt", repo_id=repository)
    hub_api.upload_file(path_or_fileobj=b"w", path_in_repo="other/config.json", repo_id=repository)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    push(hub_of(), repository, adapter)
    kept = [".gitattributes", "notes.txt", "other/config.json"]
    assert sorted(hub_api.list_repo_files(repository)) == sorted([*kept, *(path.name for path in adapter.iterdir())])


def test_a_checkpoint_has_what_training_goes_on_from(hub_of, hub_api, folder, name):
    shutil.copytree(folder, folder / "checkpoint-5")
    push(hub_of(), f"tester/{name}", folder)
    model = ["config.json", "model.safetensors"]
    inside = [f"checkpoint-5/{file}" for file in (*model, "optimizer.pt", "rng_state.pth")]
    assert sorted(hub_api.list_repo_files(f"tester/{name}")) == sorted([".gitattributes", *model, *inside])


def test_a_revision_is_a_branch_that_is_made(hub_of, hub_api, folder, name):
    answer, _ = push(hub_of(), f"tester/{name}", folder, revision="dev")
    assert hub_api.model_info(f"tester/{name}", revision="dev").sha == answer["commit"]
    assert hub_api.list_repo_files(f"tester/{name}") == [".gitattributes"]
    again, _ = push(hub_of(), f"tester/{name}", folder, revision="dev")
    assert again == answer


def test_a_public_repository_that_was_there_is_told(hub_of, hub_api, folder, name):
    hub_api.create_repo(f"tester/{name}")
    answer, notices = push(hub_of(), f"tester/{name}", folder)
    assert answer["private"] is False
    assert notices == [f'repository "tester/{name}" was there before, and everybody can read it']


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"status": 429, "path": "/api/repos/create"}, "Hub has been asked too often; trying again in 1 s"),
        ({"status": 503, "path": "/commit/main"}, "Hub is out of order; trying again in 1 s"),
        ({"cut_response": 0, "path": "/api/repos/create"}, "connection to the Hub broke; trying again in 1 s"),
    ],
)
def test_a_hub_that_stumbles_is_asked_again(hub_of, hub, hub_api, folder, name, fault, told):
    hub.disturb(**fault)
    answer, notices = push(hub_of(), f"tester/{name}", folder)
    assert notices == [told]
    assert hub_api.model_info(f"tester/{name}").sha == answer["commit"]


def test_an_upload_that_breaks_off_is_repeated(hub_of, hub, hub_api, folder, name):
    hub.disturb(path="/-/lfs/", method="PUT", cut_request=10_000)
    push(hub_of(), f"tester/{name}", folder)
    assert "model.safetensors" in hub_api.list_repo_files(f"tester/{name}")


def test_no_token_is_anywhere_on_the_hub_or_in_the_cache(hub_of, hub, folder, name, tmp_path):
    hub.add_token(SECRET, name="marked", user="tester")
    push(hub_of(SECRET), f"tester/{name}", folder)
    forms = [SECRET.encode(), base64.b64encode(SECRET.encode()).rstrip(b"=")]
    places = [hub.directory, hub_of()["cache"]]
    contents = [path.read_bytes() for place in places for path in Path(place).rglob("*") if path.is_file()]
    assert not [form for form in forms for content in contents if form in content]


@pytest.mark.parametrize(
    ("changes", "sqlstate", "message"),
    [
        ({"push_token": None}, "42501", "cannot push to the Hub without an access token"),
        ({"push_token": "hf_revoked"}, "42501", "Hub does not accept the access token"),
        ({"offline": True}, "55000", "cannot push to the Hub: the server works offline"),
    ],
)
def test_what_stops_a_push_is_found_before(hub_of, folder, changes, sqlstate, message):
    for fault in (fault_of(check, hub_of(**changes)), fault_of(push, hub_of(**changes), "tester/never", folder)):
        assert (fault.sqlstate, fault.message) == (sqlstate, message)
        assert fault.hint
        assert "hf_" not in str(fault.as_frame())


def test_a_token_that_may_only_read_is_refused_by_both(hub_of, folder):
    fault = fault_of(check, hub_of("hf_reader"))
    assert (fault.sqlstate, fault.message) == (
        "42501",
        'the access token of "tester" may not write to "tester/reviews" on the Hub',
    )
    assert "write access" in fault.hint
    assert fault_of(push, hub_of("hf_reader"), "tester/never", folder).sqlstate == "42501"


@pytest.mark.parametrize(
    ("repo_id", "project", "name"),
    [
        (None, "unheard", "tester/unheard"),
        (None, "our reviews (2)", "tester/our_reviews_2_"),
        ("films", "reviews", "tester/films"),
        ("testers/films", "reviews", "testers/films"),
        ("testers/", "our reviews", "testers/our_reviews"),
    ],
)
def test_the_repository_is_named_in_full(hub_of, repo_id, project, name):
    answer = check(hub_of(), repo_id, project)
    assert answer == {"repo_id": name, "exists": False, "private": None}


def test_a_repository_that_is_there_is_fine(hub_of, hub_api, name):
    hub_api.create_repo(f"tester/{name}", private=True)
    assert check(hub_of(), name) == {"repo_id": f"tester/{name}", "exists": True, "private": True}


@pytest.mark.parametrize(
    ("repo_id", "token", "sqlstate"),
    [
        ("stranger/films", "hf_writer", "42501"),
        ("nobody/films", "hf_writer", "42501"),
        ("testers/films", "hf_reader", "42501"),
        ("testers/films", "hf_stranger", "42501"),
        ("my films", "hf_writer", "22023"),
        ("a--b", "hf_writer", "22023"),
        ("a/b/c", "hf_writer", "22023"),
        ("../etc", "hf_writer", "22023"),
    ],
)
def test_names_that_cannot_be_pushed_to(hub_of, repo_id, token, sqlstate):
    fault = fault_of(check, hub_of(token), repo_id)
    assert fault.sqlstate == sqlstate
    assert repo_id in fault.message
    assert fault.hint


def test_a_hub_that_is_down_is_a_failed_connection(hub_of, hub):
    settings = hub_of()
    with hub.down():
        assert fault_of(check, settings).sqlstate == "08006"
    hub.fail(500, "/api/whoami")
    assert fault_of(check, settings).sqlstate == "08006"
