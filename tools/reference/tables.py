"""The page of tables, views and types: what the catalog knows, told by COMMENT ON."""

from __future__ import annotations

from itertools import groupby

import psycopg
from tools.reference.markdown import code, prose, table

HEAD = """# Tables and views

Everything that pgml knows is in these tables of the schema `pgml`. Rows belong to a project, and a project to the role
that made it: who is no member of that role sees none of them (row-level security). Views are read with the reader's own
privileges.
All tables are part of a dump. `\\d+` in psql shows the same comments.
"""
RELATIONS = """
SELECT c.relkind, c.oid::regclass::text AS relation, obj_description(c.oid, 'pg_class') AS about,
       a.attname, format_type(a.atttypid, a.atttypmod), col_description(c.oid, a.attnum)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'pgml'::regnamespace AND c.relkind IN ('r', 'v')
ORDER BY c.relkind, c.oid, a.attnum
"""
TYPES = """
SELECT t.oid::regtype::text, obj_description(t.oid, 'pg_type'),
       ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder)
FROM pg_type t WHERE t.typnamespace = 'pgml'::regnamespace AND t.typtype = 'e' ORDER BY t.oid
"""


def page(connection: psycopg.Connection) -> str:
    """The text of the page."""
    parts = [HEAD]
    rows = connection.execute(RELATIONS).fetchall()
    for kind, of_kind in groupby(rows, key=lambda row: row[0]):
        parts.append("\n## Tables\n" if kind in ("r", b"r") else "\n## Views\n")
        for (name, about), columns in groupby(of_kind, key=lambda row: (row[1], row[2])):
            parts += [f"\n### {name}\n\n{prose(about)}\n\n", _columns(name, list(columns))]
    types = [
        [code(name), " ".join(map(code, labels)), prose(about)]
        for name, about, labels in connection.execute(TYPES).fetchall()
    ]
    return "".join([*parts, "\n## Types\n\n", table(["type", "values", "means"], types)])


def _columns(relation: str, rows: list[tuple]) -> str:
    silent = [column for *_, column, _, comment in rows if not comment]
    if silent:
        raise ValueError(f"columns of {relation} without a comment: {', '.join(silent)}")
    described = [[code(column), code(kind), prose(comment)] for *_, column, kind, comment in rows]
    return table(["column", "type", "means"], described)
