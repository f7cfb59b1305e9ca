"""Requests over a real connection, answered in this process."""

from __future__ import annotations

import json
import shutil
import time

import pytest
from serving import directory_model, stored_model

from pgml import __version__

TEXTS = ["the film was wonderful", "terrible"]


@pytest.fixture
def classifier(tiny_model):
    return directory_model(tiny_model("bert-classifier"))


def test_the_server_speaks_first(backend):
    assert backend.hello["hello"] == "pgml"
    assert backend.hello["protocol"] == 1
    assert backend.hello["version"] == __version__


def test_a_transform_answers_in_order(backend, classifier):
    results = backend.transform(classifier, [TEXTS[0], None, TEXTS[1]], "text-classification")
    assert results[1] is None
    assert set(results[0]) == {"label", "score"}
    assert results[0]["label"] in ("negative", "neutral", "positive")
    assert backend.transform(classifier, []) == []


def test_the_task_is_told_from_the_model(backend, tiny_model):
    assert backend.transform(directory_model(tiny_model("bert-tokens")), ["Maria"], aggregation_strategy="none")
    error = backend.transform(directory_model(tiny_model("t5")), TEXTS)
    assert error["message"] == "task is not named, and cannot be told from the model"
    assert "summarization" in error["hint"]


def test_keys_of_the_task_are_defaults_of_the_arguments(backend, classifier):
    task = {"task": "text-classification", "top_k": 1}
    assert len(backend.transform(classifier, TEXTS, task)[0]) == 1
    assert len(backend.transform(classifier, TEXTS, task, top_k=2)[0]) == 2


@pytest.mark.parametrize(
    ("header", "payload", "sqlstate", "message"),
    [
        ({"op": "transfrom"}, b"", "08P01", 'unknown operation "transfrom"'),
        ({}, b"", "08P01", 'unknown operation "None"'),
        ({"op": "transform"}, b"{", "08P01", "frame holds invalid JSON"),
        ({"op": "transform"}, b"{}", "08P01", "inputs are not an array"),
        ({"op": "transform", "task": []}, b"[]", "08P01", '"task" of the request is not of type dict'),
        ({"op": "transform", "task": {"task": "ner"}, "model": None}, b"[]", "22023", "task names no model"),
        ({"op": "transform", "model": {"kind": "cloud"}}, b"[]", "08P01", 'unknown kind of model "cloud"'),
        (
            {"op": "transform", "model": {"kind": "directory", "name": "x", "path": "/none"}},
            b"[]",
            "58P01",
            'model directory "x" does not exist',
        ),
    ],
)
def test_a_bad_request_is_an_error_and_not_the_end(backend, header, payload, sqlstate, message):
    backend.send(header, payload)
    answer, _ = backend.read()
    assert (answer["error"]["sqlstate"], answer["error"]["message"]) == (sqlstate, message)
    backend.send({"op": "status"})
    assert backend.read()[0]["ok"] is True


def test_a_missing_model_is_explained_by_the_task_to_write(backend):
    error = backend.transform(None, TEXTS, "text-classification")
    assert error["hint"] == 'Name one: task => \'{"task": "text-classification", "model": "…"}\'.'


def test_an_unexpected_exception_is_an_error_and_its_traceback_is_logged(backend, classifier, handlers, caplog):
    del handlers._engine
    error = backend.transform(classifier, TEXTS)
    assert error["sqlstate"] == "XX000"
    assert error["message"] == "could not run transform"
    assert error["detail"].startswith("AttributeError: ")
    assert "Traceback" in caplog.text


def test_status_tells_of_process_and_models(backend, classifier):
    backend.transform(classifier, TEXTS)
    backend.send({"op": "status"})
    status = backend.read()[0]["status"]
    assert status["uptime_seconds"] > 0
    assert status["memory_bytes"] > 50_000_000
    assert set(status["packages"]) >= {"torch", "transformers"}
    assert [model["name"] for model in status["models"]] == ["bert-classifier"]


def test_a_stored_model_is_asked_for_once(connect, tiny_model):
    directory = tiny_model("bert-classifier")
    model = stored_model(directory)
    first = connect()
    first.send_transform(model, TEXTS)
    assert first.read() == ({"need": "files", "digest": model["digest"]}, b"")
    first.send_files(directory, model, part=1000)
    results = first.result()
    assert results == first.transform(directory_model(directory), TEXTS)
    assert connect().transform(model, TEXTS) == results
    first.send({"op": "status"})
    assert model["digest"] in [m["digest"] for m in first.read()[0]["status"]["models"]]


def test_a_stored_model_may_come_without_task(backend, tiny_model):
    model = stored_model(tiny_model("bert-classifier"), task=None)
    backend.send_transform(model, TEXTS)
    backend.read()
    backend.send_files(tiny_model("bert-classifier"), model)
    assert len(backend.result()) == 2


def test_a_corrupted_file_ends_the_request_and_not_the_connection(backend, tiny_model, tmp_path):
    directory = tiny_model("bert-classifier")
    model = stored_model(directory)
    broken = shutil.copytree(directory, tmp_path / "broken")
    (broken / "config.json").write_bytes((broken / "config.json").read_bytes().replace(b"32", b"33"))
    backend.send_transform(model, TEXTS)
    backend.read()
    backend.send_files(broken, model, part=500)
    error = backend.result()
    assert error["sqlstate"] == "XX001"
    assert 'file "config.json" of stored model "pgml:12" is corrupted' in error["message"]
    backend.send_transform(model, TEXTS)
    assert "need" in backend.read()[0]
    backend.send_files(directory, model)
    assert len(backend.result()) == 2


def test_a_client_that_goes_while_sending_files_leaves_them_to_the_next(connect, tiny_model, tmp_path):
    directory = tiny_model("bert-classifier")
    model = stored_model(directory)
    first, second = connect(), connect()
    first.send_transform(model, TEXTS)
    first.read()
    first.send({"file": model["files"][0]["path"]}, b"x")
    second.send_transform(model, TEXTS)
    first.close()
    assert "need" in second.read()[0]
    second.send_files(directory, model)
    assert len(second.result()) == 2
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [model["digest"]]


def test_closing_the_connection_cancels_a_long_request(connect, classifier, handlers):
    backend = connect()
    assert len(backend.transform(classifier, TEXTS)) == 2
    backend.send_transform(classifier, [f"film {number}" for number in range(200_000)])
    backend.close()
    start = time.monotonic()
    assert len(connect().transform(classifier, TEXTS)) == 2
    while next(iter(handlers._engine._models._entries.values())).running:
        time.sleep(0.01)
    assert time.monotonic() - start < 5


def tune_request(model, job):
    return {
        "op": "check_tune",
        "project": "reviews",
        "task": "text-classification",
        "model": model,
        "relation": {
            "name": "reviews",
            "columns": [{"name": "text", "type": "text"}, {"name": "label", "type": "text"}],
        },
        "y_column_name": "label",
        "hyperparams": {},
        "test_size": 0.25,
        "test_sampling": "random",
        "job_directory": str(job),
    }


def test_the_base_of_a_job_is_its_own_copy_of_a_stored_model(backend, tiny_model, tmp_path):
    directory = tiny_model("bert-classifier")
    model = stored_model(directory)
    backend.send(tune_request(model, tmp_path / "job"))
    assert "need" in backend.read()[0]
    backend.send_files(directory, model)
    answer, _ = backend.read()
    assert answer["plan"]["base"] == str(tmp_path / "job/base")
    shutil.rmtree(tmp_path / "cache")
    assert json.loads((tmp_path / "job/base/config.json").read_text())["model_type"] == "bert"


def test_the_base_of_a_job_may_be_a_directory(backend, classifier, tmp_path):
    backend.send(tune_request(classifier, tmp_path / "job"))
    answer, _ = backend.read()
    assert answer["plan"]["base"] == classifier["path"]
    backend.send(tune_request({**classifier, "path": str(tmp_path)}, tmp_path / "job"))
    assert "not a transformers model directory" in backend.read()[0]["error"]["message"]
