"""docs/guide.md runs as it stands, block after block, against a Hub with the stand-ins."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.integration.hub_database import connected_to
from tests.integration.sdk import url_of

PAGE = (Path(__file__).parents[2] / "docs" / "guide.md").read_text()
BLOCKS = re.findall(r"```(sql|python)\n(.*?)```", PAGE, re.DOTALL)


def test_the_guide_runs(hub, cluster, monkeypatch, capsys):
    with connected_to(hub, cluster) as database:
        monkeypatch.setenv("PGML_DATABASE_URL", url_of(database))
        shown = []
        for language, block in BLOCKS:
            if language == "sql":
                command = database.psql("-v", "ON_ERROR_STOP=1", "-q", "-f", "-")
                done = subprocess.run(command, input=block, capture_output=True, text=True, check=False)
                assert not done.returncode, done.stderr
                shown.append(done.stdout)
            else:
                exec(compile(block, "docs/guide.md", "exec"), {})
        everything = "\n".join(shown)
        assert "pgml.imdb" in everything
        assert f"{hub.endpoint}/santiadavani/film_reviews" in everything
        assert capsys.readouterr().out.strip()
