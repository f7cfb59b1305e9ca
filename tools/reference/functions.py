"""The page of the SQL functions: what pg_proc knows, told by COMMENT ON FUNCTION, with the examples of examples.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import psycopg
from psycopg.rows import class_row
from tools.reference.markdown import block, code, prose, table

HEAD = """# SQL functions

All functions are in the schema `pgml` and may be called by everybody, if nothing else is said. Arguments can be given
by name (`wait => false`). `\\df+ pgml.*` in psql shows this text too.
"""
SECTIONS = {
    "Tuning": ["tune", "cancel", "resume", "deploy"],
    "Answers": ["predict", "generate", "transform", "transform_stream", "embed"],
    "Data sets and the Hub": ["load_dataset", "push_to_hub", "pull_from_hub", "set_secret", "secret_names"],
    "Administration": ["runtime_status", "restart_runtime", "version"],
}
OTHERS = "Others"
WIDTH = 120
MORE = {
    ("tune", "hyperparams"): "[Hyperparams](hyperparams.md) has all of them.",
    ("generate", "config"): "[Texts](protocol.md#texts) says what each means.",
    (
        "transform",
        "args",
    ): "[Texts](protocol.md#texts) says what each means, [Vectors](protocol.md#vectors) those of embedding.",
    ("load_dataset", "kwargs"): "[Load data sets](../how-to/data-sets.md) has a table of them.",
}
"""Where arguments that hold many are told in full."""
FUNCTIONS = """
SELECT p.proname AS name, obj_description(p.oid, 'pg_proc') AS comment,
       pg_get_function_result(p.oid) AS result, has_function_privilege('public', p.oid, 'EXECUTE') AS for_all,
       ARRAY(SELECT p.proargnames[n] FROM unnest(list) AS n) AS names,
       ARRAY(SELECT format_type(p.proargtypes[n - 1], NULL) FROM unnest(list) AS n) AS types,
       ARRAY(SELECT pg_get_function_arg_default(p.oid, n) FROM unnest(list) AS n) AS defaults
FROM pg_proc p, LATERAL (SELECT array_agg(n) AS list FROM generate_series(1, p.pronargs) AS n) AS arguments
WHERE p.pronamespace = 'pgml'::regnamespace AND p.proname NOT LIKE '\\_%' AND p.prorettype <> 'trigger'::regtype
ORDER BY p.proname, length(obj_description(p.oid, 'pg_proc')) DESC, p.oid
"""


@dataclass
class Function:
    """A function as the catalog has it."""

    name: str
    comment: str
    result: str
    for_all: bool
    names: list[str]
    types: list[str]
    defaults: list[str | None]

    @property
    def signature(self) -> str:
        """One line, or one for each argument where that gets long."""
        arguments = [" ".join(pair) for pair in zip(map(_quoted, self.names), self.types, strict=True)]
        line = f"pgml.{self.name}({', '.join(arguments)}) → {self.result}"
        if len(line) <= WIDTH:
            return line
        lines = ",\n".join(f"    {argument}" for argument in arguments)
        return f"pgml.{self.name}(\n{lines}\n) → {self.result}"


def page(connection: psycopg.Connection) -> str:
    """The text of the page."""
    with connection.cursor(row_factory=class_row(Function)) as cursor:
        found = cursor.execute(FUNCTIONS).fetchall()
    by_name = {name: list(group) for name, group in groupby(found, key=lambda function: function.name)}
    listed = [name for names in SECTIONS.values() for name in names]
    sections = {**SECTIONS, OTHERS: [name for name in by_name if name not in listed]}
    beginning, examples = _examples()
    parts = [HEAD, beginning]
    for title, names in sections.items():
        if names:
            parts += [f"\n## {title}\n", *(_described(by_name[name], examples.pop(name, "")) for name in names)]
    if examples:
        raise ValueError(f"examples.md has examples of what does not exist: {', '.join(examples)}")
    return "".join(parts)


def _described(overloads: list[Function], example: str) -> str:
    main = overloads[0]
    about, arguments, _ = _read(main)
    errors = dict.fromkeys(error for function in overloads for error in _read(function)[2])
    parts = [f"\n### pgml.{main.name}\n\n", *(prose(line) + "\n" for line in about), "\n"]
    parts.append(block("\n".join(function.signature for function in overloads)))
    if main.names:
        parts += ["\n", _arguments(main, arguments)]
    if len(overloads) > 1:
        parts += ["\n", *(_overload(function) for function in overloads[1:])]
    if errors:
        parts += ["\nErrors: ", " · ".join(code(state) + _after(text) for state, text in errors), "\n"]
    if not main.for_all:
        parts.append("\nFor superusers, and for roles that `GRANT EXECUTE` names.\n")
    return "".join([*parts, example])


def _read(function: Function) -> tuple[list[str], dict[str, str], list[tuple[str, str]]]:
    """A comment taken apart: sentences, what it says of the arguments, SQLSTATEs with their causes."""
    about, arguments, errors = [], {}, []
    for line in function.comment.splitlines():
        name, colon, text = line.partition(": ")
        if colon and name in function.names:
            arguments[name] = text
        elif colon and name == "Errors":
            errors = [_error(part) for part in text.rstrip(".").split("; ")]
        else:
            about.append(line)
    return about, arguments, errors


def _error(part: str) -> tuple[str, str]:
    match = re.fullmatch(r"((?:[0-9A-Z]{5}, )*[0-9A-Z]{5}) (.*)", part)
    if not match:
        raise ValueError(f"an error is SQLSTATE and cause, not: {part}")
    return match[1], match[2]


def _after(text: str) -> str:
    return f" {prose(text)}"


def _arguments(function: Function, about: dict[str, str]) -> str:
    missing = [name for name in function.names if name not in about]
    if missing:
        raise ValueError(f"the comment of pgml.{function.name} does not tell of: {', '.join(missing)}")
    rows = zip(function.names, function.types, function.defaults, strict=True)
    return table(
        ["argument", "type", "default", "means"],
        [
            [
                code(name),
                code(kind),
                code(_default(default)),
                f"{prose(about[name])} {MORE.get((function.name, name), '')}".strip(),
            ]
            for name, kind, default in rows
        ],
    )


def _overload(function: Function) -> str:
    kinds = ", ".join(function.types)
    about, *_ = _read(function)
    return f"- `{function.name}({kinds})`: {prose(' '.join(about))}\n"


def _default(default: str | None) -> str:
    """Without the cast that PostgreSQL shows with it."""
    return re.sub(r"::[\w.]+(\[\])?$", "", default or "")


def _quoted(name: str) -> str:
    return f'"{name}"' if name == "limit" else name


def _examples() -> tuple[str, dict[str, str]]:
    """What comes before all functions, and the examples by the function's name."""
    text = Path(__file__).with_name("examples.md").read_text()
    beginning, *sections = re.split(r"^## (?:pgml\.)?(\w+)\n", text, flags=re.MULTILINE)
    return beginning, dict(zip(sections[::2], sections[1::2], strict=True))
