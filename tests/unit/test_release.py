"""One version in all places, and a way to it from every version that was released."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from pgml import __version__

ROOT = Path(__file__).parents[2]
RELEASES = {path.stem.removeprefix("pgml--") for path in (ROOT / "tests/assets/releases").glob("pgml--*.sql")}


def test_the_version_is_the_same_everywhere():
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    control = re.search(r"default_version = '(.+)'", (ROOT / "extension/pgml.control").read_text())
    changes = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    versions = {
        "Cargo.toml": tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"],
        "pyproject.toml": tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],
        "pgml.control": control and control[1],
        "CHANGELOG.md": changes and changes[1],
        **{name: package["version"] for package in lock if (name := package["name"]) in ("pgml", "pgml-core")},
    }
    assert versions == dict.fromkeys(versions, __version__)


def test_every_release_has_a_way_to_this_version():
    steps = [path.stem.split("--")[1:] for path in (ROOT / "sql").glob("pgml--*--*.sql")]
    reached = {__version__}
    while grown := {old for old, new in steps if new in reached} - reached:
        reached |= grown
    assert RELEASES
    assert reached >= RELEASES, f"no upgrade script from {RELEASES - reached}"
    assert {version for step in steps for version in step} <= RELEASES | {__version__}
