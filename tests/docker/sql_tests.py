"""Run those of tests/integration that only speak SQL at a container: python -m tests.docker.sql_tests [PYTEST_ARG…]."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from psycopg.conninfo import make_conninfo
from tests.conftest import make_models
from tests.docker.containers import container

FILES = """test_vertical test_sql_surface test_bad_input test_privileges test_predict test_transform test_generate
           test_tune_rows test_tune_results test_tune_conversation test_sdk_chat test_sdk_tuning"""


def main(arguments: list[str]) -> int:
    files = arguments or [f"tests/integration/{name}.py" for name in FILES.split()]
    with tempfile.TemporaryDirectory(prefix="pgml-models-", dir="/tmp") as models:
        make_models(Path(models))
        settings = {"max_worker_processes": 12, "pgml.hub_offline": "on", "pgml.model_directories": models}
        command = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with container("--volume", f"{models}:{models}:ro", command=tuple(command)) as served:
            environment = os.environ | {
                "PGML_TEST_DSN": make_conninfo(**served.server.known),
                "PGML_TEST_MODELS": models,
            }
            return subprocess.run(["pytest", *files], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
