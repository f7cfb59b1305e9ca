"""The local Hub takes what huggingface_hub pushes."""

from __future__ import annotations

import hashlib
import os

import pytest
from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

# huggingface_hub gives httpx2 a file in a way that is no longer wanted.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")
CARD = "---\nlicense: mit\ntags: [tiny]\nlibrary_name: transformers\npipeline_tag: text-classification\n---\nA card.\n"


@pytest.fixture
def folder(tmp_path):
    """A model's folder, with a file that goes to LFS."""
    folder = tmp_path / "folder"
    (folder / "more").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    (folder / "more" / "notes.txt").write_text("notes")
    (folder / "model.safetensors").write_bytes(os.urandom(200_000))
    return folder


@pytest.fixture
def pushed(hub_api, folder, request):
    """The name of a repository with the folder in it."""
    name = hub_api.create_repo(f"tester/{request.node.name.replace('_', '-')[:90]}").repo_id
    hub_api.upload_folder(repo_id=name, folder_path=folder)
    return name


def asked(hub, method, ending):
    return [one for one in hub.requests if one.method == method and one.path.endswith(ending)]


def test_a_new_repository_belongs_to_the_tokens_user(hub, hub_api):
    url = hub_api.create_repo("belongs", private=True)
    assert (url.repo_id, url.endpoint) == ("tester/belongs", hub.endpoint)
    assert hub_api.create_repo("belongs", exist_ok=True) == url
    with pytest.raises(HfHubHTTPError, match="409"):
        hub_api.create_repo("tester/belongs")
    assert hub_api.model_info("tester/belongs").private
    assert [file.rfilename for file in hub_api.model_info("tester/belongs").siblings] == [".gitattributes"]


def test_a_folder_arrives_with_its_large_file_in_lfs(hub, hub_api, pushed, folder):
    info = hub_api.model_info(pushed, files_metadata=True)
    files = {file.rfilename: file for file in info.siblings}
    weights = (folder / "model.safetensors").read_bytes()
    assert files["model.safetensors"].lfs.sha256 == hashlib.sha256(weights).hexdigest()
    assert files["model.safetensors"].size == len(weights)
    assert files["more/notes.txt"].lfs is None
    assert (info.library_name, info.pipeline_tag, info.tags) == ("transformers", "text-classification", ["tiny"])
    assert info.card_data.license == "mit"
    assert [one.status for one in hub.requests if one.path.startswith("/-/lfs/")] == [200, 200]


def test_what_is_there_is_not_pushed_again(hub, hub_api, pushed, folder):
    before = hub_api.model_info(pushed).sha
    hub.forget()
    assert hub_api.upload_folder(repo_id=pushed, folder_path=folder).oid == before
    assert not asked(hub, "POST", "/commit/main")
    assert not [one for one in hub.requests if one.method == "PUT"]
    assert len(hub_api.list_repo_commits(pushed)) == 2


def test_a_changed_file_alone_makes_a_commit(hub, hub_api, pushed, folder):
    (folder / "more" / "notes.txt").write_text("other notes")
    hub_api.upload_folder(repo_id=pushed, folder_path=folder, commit_message="Change notes")
    newest, *_ = hub_api.list_repo_commits(pushed)
    assert (newest.title, newest.authors) == ("Change notes", ["tester"])
    items = {item.path: item for item in hub_api.list_repo_tree(pushed, recursive=True, expand=True)}
    assert items["more/notes.txt"].last_commit.oid == newest.commit_id
    assert items["more"].last_commit.oid == newest.commit_id
    assert items["model.safetensors"].last_commit.title.startswith("Upload folder")


def test_files_and_folders_are_deleted(hub_api, pushed):
    hub_api.delete_file("model.safetensors", pushed)
    hub_api.delete_folder("more", pushed)
    assert hub_api.list_repo_files(pushed) == [".gitattributes", "README.md"]
    with pytest.raises(EntryNotFoundError):
        hub_api.delete_file("model.safetensors", pushed)


def test_branches_and_tags(hub_api, pushed):
    first = hub_api.model_info(pushed).sha
    hub_api.create_branch(pushed, branch="side/way")
    hub_api.create_branch(pushed, branch="side/way", exist_ok=True)
    hub_api.create_tag(pushed, tag="v1", tag_message="the first")
    hub_api.upload_file(path_or_fileobj=b"new", path_in_repo="new.txt", repo_id=pushed, revision="side/way")
    assert hub_api.file_exists(pushed, "new.txt", revision="side/way")
    assert not hub_api.file_exists(pushed, "new.txt", revision="v1")
    refs = hub_api.list_repo_refs(pushed)
    assert {branch.name: branch.target_commit == first for branch in refs.branches} == {"main": True, "side/way": False}
    assert [(tag.name, tag.ref, tag.target_commit) for tag in refs.tags] == [("v1", "refs/tags/v1", first)]
    with pytest.raises(HfHubHTTPError, match="409"):
        hub_api.create_tag(pushed, tag="v1")
    hub_api.delete_tag(pushed, tag="v1")
    hub_api.delete_branch(pushed, branch="side/way")
    with pytest.raises(RevisionNotFoundError):
        hub_api.model_info(pushed, revision="v1")
    with pytest.raises(RevisionNotFoundError):
        hub_api.upload_file(path_or_fileobj=b"", path_in_repo="a", repo_id=pushed, revision="side/way")


def test_a_commit_on_an_old_parent_is_refused(hub_api, pushed):
    old = hub_api.model_info(pushed).sha
    file = {"path_in_repo": "a.txt", "path_or_fileobj": b"a"}
    commit = hub_api.upload_file(repo_id=pushed, **file, parent_commit=old)
    assert len(commit.oid) == 40
    with pytest.raises(HfHubHTTPError, match="412"):
        hub_api.upload_file(repo_id=pushed, **file | {"path_or_fileobj": b"b"}, parent_commit=old)


def test_a_pull_request_leaves_the_branch_alone(hub, hub_api, pushed):
    stranger = type(hub_api)(endpoint=hub.endpoint, token="hf_stranger")
    with pytest.raises(HfHubHTTPError, match="create_pr"):
        stranger.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=pushed)
    commit = stranger.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=pushed, create_pr=True)
    assert commit.pr_revision == "refs/pr/1"
    assert hub_api.file_exists(pushed, "x.txt", revision="refs/pr/1")
    assert not hub_api.file_exists(pushed, "x.txt")


def test_a_moved_repository_is_found_by_both_names(hub_api, pushed):
    hub_api.move_repo(pushed, "testers/moved")
    assert hub_api.model_info(pushed).id == "testers/moved"
    assert hub_api.model_info("testers/moved").id == "testers/moved"
    hub_api.delete_repo("testers/moved")
    with pytest.raises(RepositoryNotFoundError):
        hub_api.model_info(pushed)


def test_long_lists_come_in_pages(hub, hub_api):
    name = hub_api.create_repo("tester/pages", repo_type="dataset").repo_id
    operations = [CommitOperationAdd(f"my data/{number:03}.txt", b"%d" % number) for number in range(120)]
    hub_api.create_commit(name, operations, commit_message="Add many", repo_type="dataset")
    hub.forget()
    items = list(hub_api.list_repo_tree(name, "my data", repo_type="dataset", expand=True))
    assert [item.path for item in items] == [operation.path_in_repo for operation in operations]
    assert len(asked(hub, "GET", "/my data")) == 3
    known = hub_api.get_paths_info(name, ["my data/001.txt", "my data", "nothing"], repo_type="dataset")
    assert [item.path for item in known] == ["my data/001.txt", "my data"]


def test_repositories_are_listed_for_those_who_may_see_them(hub_api):
    hub_api.create_repo("tester/hidden-model", private=True)
    assert "tester/hidden-model" in [model.id for model in hub_api.list_models(author="tester")]
    assert not list(hub_api.list_models(search="HIDDEN", token=False))
    assert [data.id for data in hub_api.list_datasets(search="imdb", token=False)] == ["stanfordnlp/imdb"]
    assert len(list(hub_api.list_models(author="santiadavani", limit=1))) == 1
