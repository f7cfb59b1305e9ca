"""Rows that mean something similar, by pgml.embed: `similar.py TEXT`.

A vector is an array of numbers; a table of some thousand of them needs no index.
"""

import sys

from database import engine
from sqlalchemy import text

MODEL = "all-MiniLM-L6-v2"
# Vectors are stored beside the rows; only rows without one are embedded, all of them in one call.
STORE = (
    """CREATE TABLE IF NOT EXISTS project_vectors (
           id int PRIMARY KEY REFERENCES projects ON DELETE CASCADE, vector real[] NOT NULL)""",
    """INSERT INTO project_vectors
       SELECT row.* FROM (SELECT array_agg(id) AS ids, array_agg(title) AS titles FROM projects
                          WHERE id NOT IN (SELECT id FROM project_vectors)) AS missing,
            ROWS FROM (unnest(ids), pgml.embed(:model, titles, '{"normalize_embeddings": true}')) AS row (id, vector)
       WHERE ids IS NOT NULL""",
)
# Of vectors of length 1, the cosine is the sum of the products. In double precision: products of real may underflow.
NEAREST = """
    WITH wanted AS MATERIALIZED (SELECT pgml.embed(:model, :text, '{"normalize_embeddings": true}') AS vector)
    SELECT title, (SELECT sum(a::float8 * b) FROM unnest(stored.vector, wanted.vector) AS pair (a, b)) AS cosine
    FROM wanted, project_vectors AS stored JOIN projects USING (id)
    ORDER BY cosine DESC LIMIT 5
"""


def main() -> None:
    wanted = sys.argv[1] if len(sys.argv) > 1 else "detecting objects in videos"
    with engine().begin() as connection:
        for statement in STORE:
            connection.execute(text(statement), {"model": MODEL} if ":model" in statement else {})
        for title, cosine in connection.execute(text(NEAREST), {"model": MODEL, "text": wanted}):
            print(f"{cosine:.2f}  {title}")


if __name__ == "__main__":
    main()
