"""README.md and the pages below docs/ run as they stand.

One page: `-k quickstart`. With `-s`, what each block shows comes after its place.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import pytest
from tests.cluster import throwaway, wait_until
from tests.docs_pages import ROOT, blocks_of, pages
from tests.hub.running import running_hub
from tests.integration.docs_running import Mismatch, PageRun, page_database


@pytest.fixture(scope="module")
def server(model_directory):
    """A cluster of its own: pages change settings and make roles."""
    with throwaway(model_directory, shared_preload_libraries="pgml") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def pages_hub(hub_with_stand_ins, tmp_path_factory):
    directory = shutil.copytree(hub_with_stand_ins, tmp_path_factory.mktemp("pages") / "hub")
    with running_hub(Path(directory)) as hub:
        yield hub


@pytest.fixture
def run_page(server, pages_hub):
    """Run a page of this name and text; the number of blocks it has."""
    hub = {"endpoint": pages_hub.endpoint, "offline": "off", "cache": server.root / "hub"}
    settings = {f"pgml__hub_{name}": value for name, value in hub.items()}
    with (
        tempfile.TemporaryDirectory(prefix="pgml-page-", dir="/tmp") as place,
        page_database(server, **settings) as database,
    ):
        Path(place).chmod(0o755)  # for the OS user of PostgreSQL

        def run(name: str, text: str) -> int:
            blocks = blocks_of(text)
            page = PageRun(name, database, Path(place))
            for block in blocks:
                page.run(block)
            return len(blocks)

        yield run


def runnable(page: Path) -> bool:
    return "```sql" in (text := (ROOT / page).read_text()) or "```python" in text


@pytest.mark.parametrize("page", [str(page) for page in pages() if runnable(page)])
def test_a_page_runs(run_page, page):
    assert run_page(page, (ROOT / page).read_text())


@pytest.mark.parametrize("page", [str(page) for page in pages() if not runnable(page)])
def test_a_page_without_blocks_is_well_formed(page):
    assert not blocks_of((ROOT / page).read_text())


GOOD = """
```sql
CREATE TABLE numbers AS SELECT 42 AS number;
SELECT number, 'two  spaces' FROM numbers;
```
<!-- expect: 42 | two spaces -->
<!-- python
import os, pathlib, psycopg
pathlib.Path("/srv/seen").write_text("by the server")
-->
```python
with psycopg.connect(os.environ["PGML_DATABASE_URL"]) as connection:
    print(connection.execute("SELECT number + 1 FROM numbers").fetchone(), os.getcwd())
```
<!-- expect: (43,) -->
```sql
SELECT pg_read_file('/srv/seen');
DO $$BEGIN RAISE NOTICE 'said'; END$$;
```
<!-- expect: by the server -->
<!-- expect: NOTICE: said -->
```python
raise LookupError("nothing here")
```
<!-- error: LookupError: nothing here -->
```sql
SELECT 1 / 0;
```
<!-- error: division by zero -->
"""


def test_what_a_page_shows_is_compared(run_page):
    assert run_page("good.md", GOOD) == 6


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("```sql\nSELECT 1 / 0;\nSELECT 2;\n```", "division by zero"),
        ("```sql\nSELECT 1;\nSELECT 2;\n```\n<!-- expect: 3 -->", "the output lacks: 3"),
        ("```sql\nSELECT 1;\n```\n<!-- error: division -->", "should fail with: division"),
        ("```sql\nSELECT 1 / 0;\n```\n<!-- error: overflow -->", "should fail otherwise, with: overflow"),
        ("<!-- sql\nSELECT 1 / 0;\n-->", "division by zero"),
        ("```python\nprint(1)\nprint(undefined)\n```", "name 'undefined' is not defined"),
        ("```python\nprint(1)\n```\n<!-- expect: 2 -->", "the output lacks: 2"),
    ],
    ids=["sql", "output", "success", "error", "hidden sql", "python", "python output"],
)
def test_a_page_that_is_wrong_fails_and_says_where(run_page, page, complaint):
    with pytest.raises(Mismatch, match=r"(?s)^bad\.md:3: .*" + re.escape(complaint)):
        run_page("bad.md", "# Bad\n\n" + page)


def test_a_page_leaves_nothing_for_the_next(server):
    look = """SELECT (SELECT count(*) FROM pg_roles WHERE rolname = 'analyst'), current_setting('work_mem'),
                     (SELECT count(*) FROM pgml.secret_names())"""
    with page_database(server) as database:
        before = database.run(look)
        database.run("CREATE ROLE analyst")
        database.run("ALTER SYSTEM SET work_mem = '5MB'")
        database.run("SELECT pgml.set_secret('hub_token', 'hf_writer'), pg_reload_conf()")
        wait_until(lambda: database.run(look) == [(1, "5MB", 1)], "the settings to be read")
    with page_database(server) as database:
        wait_until(lambda: database.run(look) == before, "the settings to be read")
