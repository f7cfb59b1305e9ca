"""The package as its users see it: names, their types, and what importing it costs."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import pgml

HEAVY = ["torch", "transformers", "numpy", "pandas"]


def in_a_new_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_the_package_imports_nothing():
    listed = in_a_new_process("import sys, pgml, pgml.runtime.frames; print(*sys.modules)").split()
    assert not {"psycopg", "psycopg_pool", "rich", "asyncio", *HEAVY} & set(listed)


def test_using_the_client_never_imports_what_the_runtime_needs():
    use = "import sys, pgml; [getattr(pgml, name) for name in pgml.__all__]; import pgml.cli; print(*sys.modules)"
    listed = set(in_a_new_process(use).split())
    assert "psycopg" in listed
    assert not set(HEAVY) & listed


def test_every_public_name_exists_and_says_what_it_is():
    for name in pgml.__all__:
        assert inspect.getdoc(getattr(pgml, name)), name
    assert set(pgml.__all__) <= set(dir(pgml))
    assert pgml.__all__ == sorted(pgml.__all__)


def test_type_checkers_see_the_names_that_programs_get():
    tree = ast.parse(Path(pgml.__file__).read_text())
    (branch,) = [node for node in tree.body if isinstance(node, ast.If)]
    homes = {alias.name: node.module for node in branch.body for alias in node.names}
    assert set(homes) == set(pgml.__all__)
    assert all(getattr(pgml, name).__module__ == home for name, home in homes.items())
    assert Path(pgml.__file__).with_name("py.typed").exists()


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="has no attribute 'Collection'"):
        pgml.Collection  # noqa: B018
