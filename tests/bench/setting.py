"""What measures share: a cluster, models, the Made With ML rows, and a project that predicts."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.cluster import Database, make_database, throwaway

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "made_with_ml"
MINILM = "all-MiniLM-L6-v2"
SMOLLM2 = "SmolLM2-135M-Instruct"
PROJECT = "SELECT status FROM pgml.tune('{name}', 'text-classification', 'projects_to_learn', y_column_name => 'tag', \
model_name => '{model}', hyperparams => '{{\"training_args\": {{\"max_steps\": 5}}}}')"


class Setting(contextlib.ExitStack):
    """Open while measures run. Its parts are made when a measure asks for them."""

    def __init__(self, rounds: int = 0) -> None:
        super().__init__()
        self._rounds = rounds

    def rounds(self, enough: int) -> int:
        """How often to repeat."""
        return self._rounds or enough

    @cached_property
    def models(self) -> Path:
        """A directory with MiniLM, a classifier of its size and SmolLM2, readable by PostgreSQL's user."""
        home = Path(tempfile.mkdtemp(prefix="pgml-bench-", dir="/tmp"))
        self.callback(shutil.rmtree, home, ignore_errors=True)
        for model in (MINILM, SMOLLM2):
            shutil.copytree(Path(os.environ["PGML_MODELS"]) / model, home / model)
        script = ROOT / "tests" / "bench" / "classifier.py"
        subprocess.run([sys.executable, script, home / MINILM, home / "classifier"], check=True, capture_output=True)
        for path in [home, *home.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        return home

    @cached_property
    def database(self) -> Database:
        """The example's tables and views in a running cluster."""
        cluster = self.enter_context(throwaway(self.models))
        database = make_database(cluster)
        database.run_script(EXAMPLE / "load.sql", ROOT)
        return database

    @cached_property
    def project(self) -> str:
        """A deployed MiniLM classifier; how well it classifies is of no interest here."""
        self.database.run(PROJECT.format(name="bench", model=MINILM))
        return "bench"

    @cached_property
    def project_directory(self) -> Path:
        """The files of the project's model."""
        directory = self.models / "exported"
        directory.mkdir()
        query = "SELECT path, string_agg(data, '' ORDER BY part) FROM pgml.files WHERE model_id = %s GROUP BY path"
        model_id = self.database.value("SELECT max(id) FROM pgml.deployed_models WHERE name = %s", self.project)
        with self.database.connect() as connection:
            for path, data in connection.cursor(binary=True).execute(query, [model_id]):
                (directory / path).write_bytes(data)
        return directory

    @cached_property
    def titles(self) -> list[str]:
        """Short texts: about nine words."""
        return [title for (title,) in self.database.run("SELECT title FROM projects ORDER BY id")]

    def texts(self, count: int) -> list[str]:
        """So many short texts, all different."""
        return [f"{self.titles[i % len(self.titles)]} {i // len(self.titles) or ''}".strip() for i in range(count)]

    def python(self, script: str, *arguments: Any, **environment: str) -> str:
        """Run a script of this directory in a process of its own; what it printed."""
        command = [sys.executable, ROOT / "tests" / "bench" / script, *map(str, arguments)]
        env = {**os.environ, "HF_HUB_OFFLINE": "1", **environment}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
        if done.returncode:
            raise RuntimeError(f"{script} failed: {done.stderr[-2000:]}")
        return done.stdout

    @contextlib.contextmanager
    def peer(self, script: str, *arguments: Any) -> Iterator[Callable[[Any], Any]]:
        """A warm process of a script of this directory, which answers JSON with JSON, line by line."""
        command = [sys.executable, ROOT / "tests" / "bench" / script, *map(str, arguments)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
            asked, answers = process.stdin, process.stdout
            assert asked
            assert answers
            assert answers.readline() == "ready\n"

            def ask(wanted: Any) -> Any:
                print(json.dumps(wanted), file=asked, flush=True)
                return json.loads(answers.readline())

            yield ask
            asked.close()
