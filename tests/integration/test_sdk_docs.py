"""The examples of docs/sdk.md run as they stand, one after the other, as a reader would type them."""

from __future__ import annotations

import re
from pathlib import Path

from tests.integration.jobs import REVIEWS
from tests.integration.sdk import url_of

import pgml

PAGE = (Path(__file__).parents[2] / "docs" / "sdk.md").read_text()


def test_the_examples_run(shared, monkeypatch, capsys):
    shared.run(REVIEWS)
    monkeypatch.setenv("PGML_DATABASE_URL", url_of(shared))
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/sdk.md", "exec"), names)
    assert "successful True" in capsys.readouterr().out


def test_all_that_is_public_is_described():
    assert all(f"pgml.{name}" in PAGE or f"`{name}`" in PAGE for name in pgml.__all__ if name != "TunedModel")
