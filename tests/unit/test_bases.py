"""The digest that identifies a base model."""

from __future__ import annotations

import hashlib

from pgml.runtime.bases import weights_digest


def test_the_digest_is_as_documented(tiny_copy):
    lines = b""
    for name in ("config.json", "model.safetensors"):
        data = (tiny_copy / name).read_bytes()
        lines += f"{name}\0{len(data)}\0{hashlib.sha256(data).hexdigest()}\n".encode()
    assert weights_digest(str(tiny_copy)) == hashlib.sha256(lines).hexdigest()


def test_the_digest_follows_weights_and_configuration_and_nothing_else(tiny_copy):
    first = weights_digest(str(tiny_copy))
    (tiny_copy / "README.md").write_text("words")
    assert weights_digest(str(tiny_copy)) == first
    with (tiny_copy / "config.json").open("a") as file:
        file.write("\n")
    second = weights_digest(str(tiny_copy))
    (tiny_copy / "model-2.safetensors").write_bytes(b"more")
    assert len({first, second, weights_digest(str(tiny_copy))}) == 3
