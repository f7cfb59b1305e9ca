"""The documentation builds without a broken link or any other warning, and its pages ask no other host for anything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs_pages import ROOT, pages

LOADED = re.compile(r"""<(?:script|img|iframe|source)[^>]*\ssrc=["']?([^"'\s>]+)|<link[^>]*\shref=["']?([^"'\s>]+)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return folder


def test_every_page_is_built(site):
    built = {str(page.relative_to(site)) for page in site.rglob("*.html")}
    assert built >= {str(page.relative_to("docs").with_suffix(".html")) for page in pages() if page.parts[0] == "docs"}


def test_pages_load_nothing_from_elsewhere(site):
    foreign = {
        (page.name, address)
        for page in site.rglob("*.html")
        for address in map("".join, LOADED.findall(page.read_text()))
        if "//" in address
    }
    assert not foreign
    styles = "".join(style.read_text() for style in site.rglob("*.css"))
    assert not re.findall(r"url\(['\"]?(?:https?:)?//[^)]*", styles)


def test_the_search_knows_the_pages(site):
    assert "pgml.load_dataset" in (site / "search" / "search_index.json").read_text()


def test_links_of_the_readme_lead_somewhere():
    for page in (Path("README.md"), Path("CONTRIBUTING.md")):
        links = re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text())
        missing = [link for link in links if "://" not in link and not (ROOT / page.parent / link).exists()]
        assert not missing
