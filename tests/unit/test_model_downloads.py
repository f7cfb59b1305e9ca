"""Models by Hub name: downloaded once whoever asks, found again without the Hub, and private ones of nobody else."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import threading
import time
from pathlib import Path

import pytest
from hub_requests import hub_object

from pgml.runtime import frames
from pgml.runtime.errors import RuntimeFault
from pgml.runtime.hub import blobs, models
from pgml.runtime.hub.errand import Out
from pgml.runtime.hub.errands import Errand
from pgml.runtime.hub.snapshots import Selection
from pgml.runtime.serving import hub_models

# huggingface_hub gives httpx2 a file in a way that is no longer wanted.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")
REVIEWS = "santiadavani/imdb_review_sentiement"
OLD_NAME, NAME = "distilbert-base-uncased", "distilbert/distilbert-base-uncased"
ADAPTER, LLAMA = "santiadavani/fingpt-llama2-7b-chat", "meta-llama/Llama-2-7b-chat-hf"


@pytest.fixture
def model(hub, tmp_path):
    """A model of kind "hub" of a request."""

    def model(name=REVIEWS, revision=None, **settings):
        hub_settings = hub_object(hub, tmp_path / "cache", push_token=None, **settings)
        return {"kind": "hub", "name": name, "revision": revision, "hub": hub_settings}

    return model


@pytest.fixture
def download(model, hub_api):
    """What an errand does, without a process: its answer or its fault; `told` are its notices."""

    def download(name=REVIEWS, revision=None, told=None, resume=False, **settings):
        request = {"repo": name, "revision": revision, "resume": resume, "hub": model(**settings)["hub"]}
        out = io.BytesIO()
        try:
            return models.run(request, b"", Out(out))
        except RuntimeFault as fault:
            return fault
        finally:
            out.seek(0)
            while told is not None and (frame := frames.read_frame(out)) is not None:
                told += [frame[0]["notice"]] if "notice" in frame[0] else []

    return download


@pytest.fixture
def published(hub_api, tiny_model, tmp_path):
    """Put a model on the Hub under a name of its own; files are added to it or, with None, left out."""

    def published(name, model="bert-classifier", files=None, **options):
        hub_api.create_repo(name, exist_ok=True, **options)
        folder = Path(shutil.copytree(tiny_model(model), tmp_path / name.replace("/", "--"), dirs_exist_ok=True))
        for path, contents in (files or {}).items():
            file = folder / path
            if contents is None:
                file.unlink()
            else:
                file.parent.mkdir(exist_ok=True)
                file.write_bytes(contents)
        return hub_api.upload_folder(repo_id=name, folder_path=folder).oid

    return published


def transformed(backend, model, inputs=("good",), task="text-classification"):
    """The notices before the answer, and the answer."""
    backend.send_transform(model, list(inputs), task)
    return answer(backend)


def answer(backend):
    notices = []
    while True:
        header, payload = backend.read()
        if "notice" not in header:
            return notices, header["error"] if "error" in header else json.loads(payload or b"null")
        notices.append(header["notice"])


def downloads(hub):
    """The files that the Hub handed out."""
    return [one.path.rpartition("/")[2] for one in hub.requests if one.method == "GET" and "/resolve/" in one.path]


# --- serving


def test_a_model_of_the_hub_is_downloaded_and_used(backend, hub, model):
    notices, results = transformed(backend, model())
    assert results[0]["label"] in ("negative", "positive")
    assert notices == [f'downloading "{REVIEWS}" from the Hub: 0.2 MB']
    assert sorted(downloads(hub)) == sorted(set(downloads(hub)))


def test_what_was_found_costs_neither_network_nor_process(backend, handlers, hub, model):
    transformed(backend, model())
    hub.forget()
    handlers._errands.close()
    handlers._errands.run = None  # whoever calls it fails
    start = time.monotonic()
    for _ in range(20):
        notices, results = transformed(backend, model())
        assert (notices, len(results)) == ([], 1)
    assert time.monotonic() - start < 1
    assert hub.requests == []


def test_two_sessions_wait_for_one_download(connect, hub, model):
    hub.disturb(path="model.safetensors", method="GET", delay=1)
    backends = [connect(), connect()]
    for backend in backends:
        backend.send_transform(model(), ["good"], "text-classification")
    answers = [answer(backend) for backend in backends]
    assert answers[0] == answers[1]
    assert answers[0][0] == [f'downloading "{REVIEWS}" from the Hub: 0.2 MB']
    assert downloads(hub).count("model.safetensors") == 1
    assert len([one for one in hub.requests if one.path.startswith("/api/models/")]) == 2  # facts, and the tree


def test_one_who_goes_does_not_disturb_the_other(connect, hub, model):
    hub.disturb(path="model.safetensors", method="GET", delay=1)
    first, second = connect(), connect()
    for backend in (first, second):
        backend.send_transform(model(), ["good"], "text-classification")
        assert "notice" in backend.read()[0]
    first.close()
    assert len(answer(second)[1]) == 1


def test_the_last_who_goes_ends_the_download(backend, handlers, hub, model):
    hub.disturb(path="model.safetensors", method="GET", delay=20)
    backend.send_transform(model(), ["good"], "text-classification")
    assert "notice" in backend.read()[0]
    (download,) = handlers._hub_models._downloads.values()
    backend.close()
    assert download.ended.wait(2)
    assert download.fault.sqlstate == "57014"


def test_a_fault_is_told_and_not_remembered(backend, hub, model):
    hub.fail(403, "/api/models/")
    assert transformed(backend, model())[1]["sqlstate"] == "42501"
    assert len(transformed(backend, model())[1]) == 1


def test_a_branch_that_moved_is_followed_after_a_while(backend, handlers, hub, published, model, monkeypatch):
    name = "tester/moves"
    first = published(name)
    transformed(backend, model(name))
    second = published(name, files={"README.md": b"new"})
    hub.forget()
    transformed(backend, model(name))
    assert hub.requests == []
    monkeypatch.setattr(hub_models, "SECONDS_REMEMBERED", 0)
    handlers._hub_models._found.clear()
    transformed(backend, model(name))
    assert downloads(hub) == ["README.md"]
    (found,) = handlers._hub_models._found.values()
    assert (found.commit, first != second) == (second, True)


def test_progress_is_told_while_it_lasts(backend, hub, published, model, monkeypatch):
    monkeypatch.setattr(hub_models, "SECONDS_BETWEEN_NOTICES", 0)
    published("tester/slow", files={"added.safetensors": b"\0" * 3_000_000})
    hub.disturb(path="added.safetensors", method="GET", bytes_per_second=1_500_000)
    notices, _ = transformed(backend, model("tester/slow"))
    assert notices[0] == 'downloading "tester/slow" from the Hub: 3.1 MB'
    assert notices[-1].startswith('downloading "tester/slow": ')
    assert notices[-1].endswith(" of 3 MB")


def test_an_adapter_of_the_hub_finds_its_base_there(backend, hub, model):
    backend.send_transform(model(ADAPTER), [[{"role": "user", "content": "Who?"}]], "conversation", max_tokens=2)
    assert "notice" in backend.read()[0]
    need, _ = backend.read()
    assert need == {"need": "model", "name": LLAMA, "revision": None}
    backend.send({"model": model(LLAMA)})
    notices, results = answer(backend)
    assert notices[0].startswith(f'downloading "{LLAMA}" from the Hub')
    assert isinstance(results[0], str)


def test_a_base_is_asked_for_in_its_revision(backend, tmp_path, hub, model):
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (folder / "adapter_model.safetensors").touch()
    (folder / "pgml.json").write_text(
        json.dumps({"task": "text-classification", "base": {"name": NAME, "revision": "ab12"}})
    )
    backend.send_transform({"kind": "directory", "name": "a", "path": str(folder)}, ["x"])
    assert backend.read()[0] == {"need": "model", "name": NAME, "revision": "ab12"}
    backend.send({"model": model(NAME, deny="distilbert/*")})
    fault = answer(backend)[1]
    assert (fault["sqlstate"], fault["message"]) == (
        "42501",
        f'base model "{NAME}" of "a" cannot be used: Hub repository "{NAME}" is not allowed here',
    )


def test_tuning_begins_at_a_snapshot(backend, hub_api, model, tmp_path):
    request = {
        "op": "check_tune",
        "project": "p",
        "task": "text-classification",
        "model": model(OLD_NAME),
        "relation": {"name": "r", "columns": [{"name": "text", "type": "text"}, {"name": "label", "type": "text"}]},
        "y_column_name": "label",
        "hyperparams": {},
        "test_size": 0.25,
        "test_sampling": "random",
        "job_directory": str(tmp_path / "job"),
        "full_tuning_limit": 1000,
        "hub": model()["hub"],
    }
    backend.send(request)
    while "notice" in (header := backend.read()[0]):
        pass
    plan = header["plan"]
    commit = hub_api.model_info(NAME).sha
    assert (plan["base_name"], plan["base_revision"], plan["remote_code"]) == (OLD_NAME, commit, False)
    assert Path(plan["base"]).name == commit
    assert not (tmp_path / "job").exists()


CODE = b"""
from transformers import BertConfig, BertForSequenceClassification
class OwnConfig(BertConfig):
    model_type = "own"
class OwnClassifier(BertForSequenceClassification):
    config_class = OwnConfig
"""


def test_code_is_run_only_where_it_is_trusted(backend, published, tiny_model, model, tmp_path, monkeypatch):
    from transformers import dynamic_module_utils  # noqa: PLC0415 takes a second

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    config = json.loads((tiny_model("bert-classifier") / "config.json").read_text())
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForSequenceClassification": "own.OwnClassifier"}
    config |= {"model_type": "own", "architectures": ["OwnClassifier"], "auto_map": classes}
    published("tester/code-of-its-own", files={"config.json": json.dumps(config).encode(), "own.py": CODE})
    refused = transformed(backend, model("tester/code-of-its-own"))[1]
    assert (refused["sqlstate"], refused["message"]) == (
        "0A000",
        'cannot use model "tester/code-of-its-own": it needs code of its own to be run',
    )
    trusted = model("tester/code-of-its-own", trust_remote_code="tester/code-*")
    task = {"task": "text-classification", "trust_remote_code": True}
    assert "label" in transformed(backend, trusted, task=task)[1][0]
    refused = transformed(backend, model("tester/code-of-its-own", trust_remote_code="tester"), task=task)[1]
    assert refused["sqlstate"] == "0A000"


def test_a_malformed_model_is_refused(backend, model):
    for broken in ({"name": 1}, {"name": "a/b", "revision": 2}, {"name": "a/b"}):
        assert transformed(backend, {"kind": "hub", **broken})[1]["sqlstate"] == "08P01"


def test_rows_of_a_data_set_are_passed_on(backend, model):
    request = {"op": "load_dataset", "source": "imdb", "subset": None, "limit": 3, "kwargs": {"split": "train"}}
    backend.send({**request, "directories": [], "urls": "", "hub": model()["hub"]})
    kinds, rows = [], b""
    while not (frame := backend.read())[0].get("ok"):
        assert "error" not in frame[0], frame[0]
        kinds += [kind for kind in ("table", "rows") if kind in frame[0]]
        rows += frame[1]
    assert kinds[0] == "table"
    assert rows.count(b"\n") == frame[0]["rows"] == 3


# --- downloading


def test_only_files_that_are_needed_are_downloaded(download, published):
    files = {
        "pytorch_model.bin": b"x",
        "model.onnx": b"x",
        "consolidated.safetensors": b"x",
        "onnx/config.json": b"{}",
        "own.py": b"",
        "LICENSE.txt": b"x",
        "1_Pooling/config.json": b"{}",
        "checkpoint-5/optimizer.pt": b"x",
        "checkpoint-5/training_args.bin": b"x",
    }
    published("tester/many-files", files=files)

    def names(**options):
        path = Path(download("tester/many-files", **options)["path"])
        return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()} & set(files)

    assert names() == {"LICENSE.txt", "1_Pooling/config.json"}
    assert names(trust_remote_code="tester/*") == {"LICENSE.txt", "1_Pooling/config.json", "own.py"}
    assert "checkpoint-5/optimizer.pt" in names(resume=True)


def test_what_is_selected():
    files = ["a.safetensors", "x/a.safetensors", "spiece.model", "merges.txt", "a.gguf", "a.h5", "chat_template.jinja"]
    assert Selection().of(files) == ["a.safetensors", "spiece.model", "merges.txt", "chat_template.jinja"]


def test_weights_that_are_a_pickle_are_refused_before_they_are_downloaded(download, published, hub):
    published("tester/pickled", files={"model.safetensors": None, "pytorch_model.bin": b"x"})
    fault = download("tester/pickled")
    assert (fault.sqlstate, fault.detail) == (
        "0A000",
        'Reading "pytorch_model.bin" could run any code that is in it.',
    )
    assert downloads(hub) == []


def test_an_old_name_leads_to_the_same_without_the_hub(download, hub):
    found = download(OLD_NAME)
    assert found["id"] == NAME
    hub.forget()
    assert download(OLD_NAME, offline=True) == download(NAME, offline=True) == found
    assert download(NAME, found["commit"]) == found
    assert hub.requests == []


def test_a_tag_leads_to_its_commit_without_the_hub(download, published, hub_api):
    commit = published("tester/tagged")
    hub_api.create_tag("tester/tagged", tag="v1/a")
    published("tester/tagged", files={"README.md": b"new"})
    found = download("tester/tagged", "v1/a")
    assert found["commit"] == commit
    assert download("tester/tagged", "v1/a", offline=True) == found
    assert download("tester/tagged", offline=True).sqlstate == "42704"  # nobody has asked for main


def test_what_is_not_there_is_told_with_what_is_like_it(download):
    fault = download("distilbert/distilbert-base-uncasedd")
    assert (fault.sqlstate, fault.hint.partition(". ")[0]) == ("42704", f'Perhaps you meant "{NAME}"')
    fault = download(NAME, "mainn")
    assert fault.message == f'Hub repository "{NAME}" does not have revision "mainn"'
    assert fault.hint.startswith('Perhaps you meant "main".')


@pytest.mark.parametrize("revision", ["../../x", "/etc", "", "a/../../b"])
def test_a_revision_is_no_path(download, revision):
    assert download(revision=revision).sqlstate == "22023"


def test_a_private_model_is_for_its_role_alone(download, published, hub):
    published("tester/private-model", private=True)
    found = download("tester/private-model", token="hf_reader", role="10")
    assert found["private"]
    assert "/cache/roles/10/" in found["path"]
    assert download("tester/private-model", role="10", offline=True) == found
    for token in (None, "hf_stranger"):
        assert download("tester/private-model", role="11", token=token).sqlstate == "42704"
    assert download("tester/private-model", role="11", offline=True).sqlstate == "42704"
    assert download("tester/private-model", role="10").sqlstate == "42704"  # the Hub is there, and says no
    with hub.down():
        assert download("tester/private-model", role="11").sqlstate == "08006"
        assert download("tester/private-model", role="10") == found
    files = [file for file in Path(found["path"]).parents[4].rglob("*") if file.is_file()]
    assert [file for file in files if "private-model" in str(file)]
    assert all("/roles/10/" in str(file) for file in files if "private-model" in str(file))
    assert not [file for file in files if b"hf_reader" in file.read_bytes()]


def test_a_gated_model_is_for_its_role_alone(download, published, hub_api):
    published("tester/gated-model")
    hub_api.update_repo_settings("tester/gated-model", gated="manual")
    for token in (None, "hf_stranger"):
        fault = download("tester/gated-model", token=token)
        assert (fault.sqlstate, fault.message) == ("42501", 'Hub repository "tester/gated-model" is gated')
    found = download("tester/gated-model", token="hf_reader")
    assert "/roles/10/" in found["path"]


def test_a_public_model_is_for_everybody_also_with_a_bad_token(download, hub):
    found = download(token="hf_unknown")
    assert not found["private"]
    assert "/cache/public/" in found["path"]
    assert {one.token for one in hub.requests} == {None}
    assert download(role="11", offline=True) == found


def test_without_the_hub_there_is_what_was_downloaded(download, hub):
    found = download()
    with hub.down():
        told = []
        assert download(told=told) == found
        assert told[0].startswith(f'using "{REVIEWS}" at commit {found["commit"][:12]}, which was downloaded before')
        assert download(NAME).sqlstate == "08006"
    hub.fail(503, "/api/models/", headers={"Retry-After": "0"}, times=3)
    assert download(told=told) == found
    assert told[1].endswith(": Hub is out of order")


@pytest.mark.parametrize("status", [429, 500])
def test_a_hub_that_stumbles_is_asked_again(download, hub, status):
    hub.fail(status, "/api/models/", times=2, headers={"Retry-After": "0"})
    hub.fail(429, "/resolve/", method="GET", headers={"Retry-After": "0"})
    assert download()["id"] == REVIEWS
    assert [one.status for one in hub.requests][:3] == [status, status, 200]


def test_a_download_goes_on_where_another_broke_off(download, hub, published):
    published("tester/large", files={"added.safetensors": b"\7" * 25_000_000})
    hub.disturb(path="added.safetensors", method="GET", cut_response=12_000_000)
    hub.fail(404, "added.safetensors", method="GET", code="EntryNotFound")
    assert download("tester/large").sqlstate == "58P01"
    assert download("tester/large", offline=True).sqlstate == "42704"
    hub.heal()
    hub.forget()
    found = download("tester/large")
    (rest,) = [one for one in hub.requests if one.method == "GET" and one.path.endswith("added.safetensors")]
    assert rest.range == "bytes=10485760-"
    assert Path(found["path"], "added.safetensors").read_bytes() == b"\7" * 25_000_000


def test_a_disk_that_is_full_is_told_and_given_its_room_back(download, published, tmp_path):
    contents = b"\7" * blobs.LARGE
    published("tester/twelve", files={"added.safetensors": contents})
    partial = hashlib.sha256(contents).hexdigest() + ".partial"
    folder = tmp_path / "cache" / "public" / "models--tester--twelve" / "blobs"
    folder.mkdir(parents=True)
    (folder / partial).symlink_to("/dev/full")
    fault = download("tester/twelve")
    assert (fault.sqlstate, fault.message) == ("53100", "no space is left for files of the Hub")
    assert not (folder / partial).is_symlink()
    assert download("tester/twelve")["commit"]


def test_what_cannot_fit_is_not_begun(tmp_path):
    with pytest.raises(RuntimeFault) as caught:
        blobs.check_room(tmp_path, 1 << 60)
    assert caught.value.sqlstate == "53100"


def test_a_large_file_that_changed_on_its_way_is_not_kept(download, published, tmp_path):
    contents = b"\7" * blobs.LARGE
    published("tester/changed", files={"added.safetensors": contents})
    partial = hashlib.sha256(contents).hexdigest() + ".partial"
    folder = tmp_path / "cache" / "public" / "models--tester--changed" / "blobs"
    folder.mkdir(parents=True)
    (folder / partial).write_bytes(b"\6")  # and the rest is right
    assert download("tester/changed").message == "download from the Hub is broken"
    assert download("tester/changed")["commit"]


def test_frames_of_a_download_hold_no_token(model, hub, published):
    published("tester/private-model", private=True)
    with Errand.start(model(token="hf_writer")["hub"], {"op": "model", "repo": "tester/private-model"}) as errand:
        said = b"".join(frames.encode(header) for header, _ in errand.frames())
    assert b"hf_writer" not in said
    assert threading.active_count() < 50
