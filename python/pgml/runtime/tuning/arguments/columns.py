"""Find the columns of a relation that a task reads: names and types in, roles out. Pure: knows no rows and no database.

Types are named as PostgreSQL's format_type names them: `text`, `character varying(20)`, `numeric(10,2)`, `integer[]`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pgml.runtime.errors import INVALID_PARAMETER_VALUE
from pgml.runtime.mistakes import Mistakes, shown
from pgml.runtime.nearest import nearest

UNDEFINED_COLUMN = "42703"
OWNER = "dataset_args"

# What is not in these lists is text, or an enum, or a domain or a type of an extension, which only the database knows.
NO_LABEL = frozenset(
    [
        *(
            "bytea",
            "date",
            "double precision",
            "interval",
            "json",
            "jsonb",
            "money",
            "numeric",
            "real",
            "tsvector",
            "xml",
        ),
        *("time with time zone", "time without time zone", "timestamp with time zone", "timestamp without time zone"),
    ]
)
NO_TEXT = NO_LABEL | {"bigint", "boolean", "integer", "oid", "smallint", "uuid"}


@dataclass(frozen=True)
class Role:
    """What a column is read for, the key of `dataset_args` that names it, and the names it has by habit, best first."""

    name: str
    key: str
    defaults: tuple[str, ...]


LABEL = Role("label", "class_column", ("class", "label"))
ROLES = {
    "text-classification": (Role("text", "text_column", ("text",)), LABEL),
    "text-pair-classification": (
        Role("text1", "text1_column", ("text1", "sentence1")),
        Role("text2", "text2_column", ("text2", "sentence2")),
        LABEL,
    ),
}


@dataclass(frozen=True)
class Relation:
    """The relation rows are read from."""

    name: str
    types: dict[str, str]

    @classmethod
    def from_request(cls, relation: dict[str, Any]) -> Relation:
        """Read the object of a request."""
        return cls(relation["name"], {column["name"]: column["type"] for column in relation["columns"]})


def find_columns(
    task: str,
    relation: Relation,
    dataset_args: dict[str, Any],
    y_column_name: str | None,
    mistakes: Mistakes,
    notices: list[str],
) -> list[dict[str, str]]:
    """The columns by role as the plan has them; what is wrong goes to `mistakes`."""
    roles = ROLES[task]
    mistakes.add_unknown(dataset_args, [role.key for role in roles], f"{OWNER} of {task}")
    found: dict[str, str] = {}
    for role in roles:
        column = named(role, dataset_args, mistakes)
        if column is None and role is LABEL and y_column_name is not None:
            column = y_column_name
        elif role is LABEL and y_column_name not in (None, column):
            notices.append(
                f'y_column_name is ignored, because "{role.key}" in {OWNER} names the column with the labels'
            )
        if column is None and role.key not in dataset_args:
            column = _by_habit(role, relation, mistakes)
        if column is not None and exists(column, relation, mistakes):
            check_type(role, column, relation.types[column], mistakes)
            found[role.name] = column
    check_distinct(found, mistakes)
    return [{"role": role, "name": name} for role, name in found.items()]


def named(role: Role, dataset_args: dict[str, Any], mistakes: Mistakes) -> str | None:
    """The column that `dataset_args` name for a role."""
    name = dataset_args.get(role.key)
    if role.key in dataset_args and not isinstance(name, str):
        mistakes.add(f'"{role.key}" in {OWNER} must be the name of a column, not {shown(role.key, name)}')
        return None
    return name


def _by_habit(role: Role, relation: Relation, mistakes: Mistakes) -> str | None:
    present = [name for name in role.defaults if name in relation.types]
    # Two columns that might hold the labels: a guess would train on the wrong one now and then.
    if present and (role is not LABEL or len(present) == 1):
        return present[0]
    what = "the labels" if role is LABEL else f"the {role.name}"
    choice = f": {' and '.join(present)} are both there" if present else ""
    mistakes.add(
        f'cannot tell which column of "{relation.name}" holds {what}{choice}',
        hint=f'Name it in hyperparams {{"dataset_args": {{"{role.key}": "..."}}}}: one of {", ".join(relation.types)}.',
    )
    return None


def exists(column: str, relation: Relation, mistakes: Mistakes) -> bool:
    """Whether the relation has the column; if not, that is noted."""
    if column in relation.types:
        return True
    close = nearest(column, relation.types)
    hint = f'Perhaps you meant "{close}" for "{column}".' if close else f"Columns are: {', '.join(relation.types)}."
    mistakes.add(
        f'column "{column}" of relation "{relation.name}" does not exist', hint=hint, sqlstate=UNDEFINED_COLUMN
    )
    return False


def check_type(role: Role, column: str, declared: str, mistakes: Mistakes) -> None:
    """Refuse a column of a type that cannot hold what it is read for."""
    base = re.sub(r"\(.*?\)", "", declared)
    if not (base.endswith("[]") or base in (NO_LABEL if role is LABEL else NO_TEXT)):
        return
    hint = (
        f"Cast it in a view: labels are text, integers, booleans or enums, for example {column}::text."
        if role is LABEL
        else f"Cast it in a view, for example {column}::text."
    )
    what = "labels" if role is LABEL else "text"
    mistakes.add(
        f'column "{column}" of type {declared} cannot hold {what}', hint=hint, sqlstate=INVALID_PARAMETER_VALUE
    )


def check_distinct(found: dict[str, str], mistakes: Mistakes) -> None:
    """Refuse a column that is named for two things."""
    for column in dict.fromkeys(found.values()):
        roles = [role for role, name in found.items() if name == column]
        if len(roles) > 1:
            mistakes.add(f'column "{column}" cannot be both {" and ".join(roles)}')
