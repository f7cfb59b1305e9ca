"""Put a model of a directory into the registry, as if a job had stored it: tests of serving need no training."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tests.cluster import Database

PART = 64 << 10  # smaller than a job's, so that tiny models have several


def store_model(database: Database, project: str, source: Path, extra: dict[str, bytes] | None = None) -> int:
    """Store and deploy; the id of the model. `extra` are more files."""
    files = {path.name: path.read_bytes() for path in source.iterdir()} | (extra or {})
    files["pgml.json"] = json.dumps({"format": 1, "task": "text-classification", "tokenizer_args": {}}).encode()
    described = {path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in files.items()}
    lines = "".join(f"{path}\0{size}\0{sha256}\n" for path, (size, sha256) in sorted(described.items()))
    with database.connect() as connection, connection.transaction():
        project_id = connection.execute(
            "INSERT INTO pgml.projects (name, task) VALUES (%s, 'text_classification') RETURNING id", [project]
        ).fetchone()[0]
        model_id = connection.execute(
            """INSERT INTO pgml.models (project_id, num_features, algorithm, hyperparams, status, digest)
               VALUES (%s, 1, 'transformers', '{}', 'successful', %s) RETURNING id""",
            [project_id, hashlib.sha256(lines.encode()).hexdigest()],
        ).fetchone()[0]
        parts = [
            (model_id, path, start // PART, data[start : start + PART], *described[path])
            for path, data in files.items()
            for start in range(0, max(len(data), 1), PART)
        ]
        connection.cursor().executemany(
            "INSERT INTO pgml.files (model_id, path, part, data, size, sha256) VALUES (%s, %s, %s, %s, %s, %s)", parts
        )
        connection.execute(
            "INSERT INTO pgml.deployments (project_id, model_id, strategy) VALUES (%s, %s, 'specific')",
            [project_id, model_id],
        )
    return model_id
