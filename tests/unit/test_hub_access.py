"""The local Hub lets in who may come in, and says no as the Hub says it."""

from __future__ import annotations

import base64

import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError


@pytest.fixture
def private(hub_api):
    name = hub_api.create_repo("tester/private", private=True, exist_ok=True).repo_id
    if not hub_api.file_exists(name, "secret.txt"):
        hub_api.upload_file(path_or_fileobj=b"secret", path_in_repo="secret.txt", repo_id=name)
    return name


@pytest.fixture
def api(hub):
    return lambda token: HfApi(endpoint=hub.endpoint, token=token)


def test_a_private_repository_is_not_there_for_others(private, api, hub, tmp_path):
    for token, status in [(False, 401), ("hf_stranger", 404)]:
        with pytest.raises(RepositoryNotFoundError) as error:
            api(token).model_info(private)
        assert error.value.response.status_code == status
        with pytest.raises(RepositoryNotFoundError):
            hf_hub_download(private, "secret.txt", token=token, endpoint=hub.endpoint, cache_dir=tmp_path)
    for token in ("hf_writer", "hf_reader"):
        assert api(token).model_info(private).id == private


def test_a_missing_repository_looks_like_a_private_one(api):
    for token, status in [(False, 401), ("hf_writer", 404)]:
        with pytest.raises(RepositoryNotFoundError) as error:
            api(token).model_info("tester/nothing")
        assert error.value.response.status_code == status


def test_an_unknown_token_is_refused_even_where_none_is_needed(api):
    with pytest.raises(HfHubHTTPError, match="Invalid user token") as error:
        api("hf_wrong").whoami()
    assert error.value.response.status_code == 401
    with pytest.raises(HfHubHTTPError, match="401") as error:
        api("hf_wrong").model_info("santiadavani/imdb_review_sentiement")
    assert not isinstance(error.value, RepositoryNotFoundError)


def test_a_token_tells_its_role(api):
    who = {token: api(token).whoami() for token in ("hf_writer", "hf_reader")}
    assert {who[token]["name"] for token in who} == {"tester"}
    assert [who[token]["auth"]["accessToken"]["role"] for token in who] == ["write", "read"]
    assert [organisation["name"] for organisation in who["hf_writer"]["orgs"]] == ["testers"]


def test_a_read_token_does_not_push(private, api):
    reader = api("hf_reader")
    with pytest.raises(HfHubHTTPError, match="must use a write token"):
        reader.create_repo("tester/by-reader")
    with pytest.raises(HfHubHTTPError, match="must use a write token") as error:
        reader.upload_file(path_or_fileobj=b"", path_in_repo="a.txt", repo_id=private)
    assert error.value.response.status_code == 403
    api("hf_writer").auth_check(private, write=True)
    with pytest.raises(HfHubHTTPError, match="403"):
        reader.auth_check(private, write=True)


def test_nobody_writes_into_the_namespace_of_another(api):
    with pytest.raises(HfHubHTTPError, match='under the namespace "tester"'):
        api("hf_stranger").create_repo("tester/by-stranger")
    with pytest.raises(HfHubHTTPError, match="403"):
        api("hf_stranger").create_tag("santiadavani/imdb_review_sentiement", tag="v1")
    assert api("hf_writer").create_repo("testers/of-organisation").repo_id == "testers/of-organisation"


def test_a_repository_becomes_public(private, api):
    api("hf_writer").update_repo_settings(private, private=False)
    assert not api(False).model_info(private).private
    api("hf_writer").update_repo_settings(private, private=True)
    with pytest.raises(RepositoryNotFoundError):
        api(False).model_info(private)


def test_a_gated_repository_shows_itself_but_not_its_files(hub, api, tmp_path):
    api("hf_writer").create_repo("tester/gated")
    api("hf_writer").update_repo_settings("tester/gated", gated="manual")
    assert api(False).model_info("tester/gated").gated == "manual"
    for token in (False, "hf_stranger"):
        with pytest.raises(GatedRepoError):
            hf_hub_download("tester/gated", ".gitattributes", token=token, endpoint=hub.endpoint, cache_dir=tmp_path)


def test_a_token_comes_and_goes(hub, api):
    hub.add_token("hf_marked", name="marked", user="tester", role="read")
    assert api("hf_marked").whoami()["name"] == "tester"
    with hub.down():
        pass
    assert api("hf_marked").whoami()["name"] == "tester"
    hub.remove_token("hf_marked")
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api("hf_marked").whoami()
    assert [one.token for one in hub.requests] == ["marked", "unknown"]


def test_no_token_is_written_down(hub, private, api):
    hub.add_token("hf_marked_to_be_found", name="marked", user="tester")
    api("hf_marked_to_be_found").upload_file(path_or_fileobj=b"new", path_in_repo="new.txt", repo_id=private)
    marks = (b"hf_marked_to_be_found", base64.b64encode(b"hf_marked_to_be_found"))
    for file in hub.directory.rglob("*"):
        assert file.is_dir() or not any(mark in file.read_bytes() for mark in marks)
    assert "hf_marked" not in repr(hub.requests)
    hub.remove_token("hf_marked_to_be_found")
