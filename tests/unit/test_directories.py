"""Which directories are models, and when one has changed."""

from __future__ import annotations

import json
import os

import pytest

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.serving.directories import (
    architectures,
    check_directory,
    fingerprint,
    is_adapter,
    own_task,
    weights_size,
)


def fault(directory):
    with pytest.raises(RuntimeFault) as caught:
        check_directory(str(directory), "acme")
    return caught.value


def test_a_missing_directory(tmp_path):
    assert fault(tmp_path / "none").sqlstate == "58P01"
    assert fault(tmp_path / "none").message == 'model directory "acme" does not exist'


def test_a_directory_without_config(tmp_path):
    (tmp_path / "model.safetensors").touch()
    assert fault(tmp_path).message == '"acme" is not a transformers model directory'


@pytest.mark.parametrize("weights", ["pytorch_model.bin", "model.pt"])
def test_pickled_weights_are_refused_with_a_way_out(tmp_path, weights):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / weights).touch()
    error = fault(tmp_path)
    assert error.sqlstate == "0A000"
    assert "pickle" in error.message
    assert weights in error.detail
    assert "save_pretrained" in error.hint
    (tmp_path / "model.safetensors").touch()
    check_directory(str(tmp_path), "acme")


def test_a_directory_without_weights(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert fault(tmp_path).message == 'model directory "acme" holds no weights'


def test_the_fingerprint_sees_every_change(tmp_path):
    (tmp_path / "a").write_text("x")
    seen = [fingerprint(str(tmp_path))]
    assert fingerprint(str(tmp_path)) == seen[0]
    os.utime(tmp_path / "a", ns=(1, 1))
    seen.append(fingerprint(str(tmp_path)))
    (tmp_path / "a").write_text("xy")
    os.utime(tmp_path / "a", ns=(1, 1))
    seen.append(fingerprint(str(tmp_path)))
    (tmp_path / "b").touch()
    seen.append(fingerprint(str(tmp_path)))
    assert len(set(seen)) == 4


def test_size_and_architecture_are_read_from_the_files(tmp_path):
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"xx")
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"xxx")
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"]}')
    assert weights_size(str(tmp_path)) == 5
    assert architectures(str(tmp_path), "acme") == ["BertModel"]
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RuntimeFault, match=r'file "config\.json" of model "acme" is not valid JSON'):
        architectures(str(tmp_path), "acme")


def test_an_adapter_needs_no_config_but_weights(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"task_type": "CAUSAL_LM"}')
    assert fault(tmp_path).message == 'adapter "acme" holds no weights that can be read'
    (tmp_path / "adapter_model.safetensors").touch()
    check_directory(str(tmp_path), "acme")
    assert is_adapter(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert not is_adapter(str(tmp_path))


@pytest.mark.parametrize(
    ("files", "inputs", "task"),
    [
        ({"config.json": {"architectures": ["LlamaForCausalLM"]}}, ["text", None], "text-generation"),
        ({"config.json": {"architectures": ["LlamaForCausalLM"]}}, [{"role": "user"}], "conversation"),
        ({"config.json": {"architectures": ["LlamaForCausalLM"]}}, [[{"role": "user"}], None], "conversation"),
        ({"config.json": {"architectures": ["BertForMaskedLM"]}}, [[]], "fill-mask"),
        ({"config.json": {}, "pgml.json": {"task": "conversation"}}, ["text"], "conversation"),
        ({"config.json": {"architectures": ["BertModel"]}}, ["text"], None),
        ({"config.json": {"architectures": ["BertModel"]}, "modules.json": []}, ["text"], "embedding"),
        ({"config.json": {"architectures": ["Qwen3ForCausalLM"]}, "modules.json": []}, ["text"], "embedding"),
        (
            {"config.json": {"architectures": ["BertForSequenceClassification"]}, "modules.json": []},
            ["text"],
            "text-classification",
        ),
        ({"adapter_config.json": {"task_type": "SEQ_CLS"}}, ["text"], "text-classification"),
        ({"adapter_config.json": {"task_type": "CAUSAL_LM"}}, ["text"], "text-generation"),
        ({"adapter_config.json": {}, "pgml.json": {"task": "text-classification"}}, ["text"], "text-classification"),
        ({"adapter_config.json": {}}, ["text"], None),
    ],
)
def test_what_a_model_was_made_for(tmp_path, files, inputs, task):
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    assert own_task(str(tmp_path), "acme", inputs) == task
