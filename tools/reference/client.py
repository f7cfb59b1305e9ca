"""The page of the Python client: signatures and docstrings of what `pgml` makes public."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from tools.reference.markdown import block, code, table

import pgml

HEAD = """# The Python client

`import pgml` needs psycopg and rich alone. [Use it from Python](../how-to/python.md) shows how it is used.
"""


def page() -> str:
    """The text of the page."""
    return "".join([HEAD, *(_described(name, getattr(pgml, name)) for name in sorted(pgml.__all__, key=str.lower))])


def _described(name: str, thing: Any) -> str:
    if dataclasses.is_dataclass(thing):
        fields = [[code(field.name), code(str(field.type))] for field in dataclasses.fields(thing)]
        return f"\n## pgml.{name}\n\n{_documentation(thing)}\n{table(['field', 'type'], fields)}"
    text = f"\n## pgml.{name}\n\n{_signature(f'pgml.{name}', thing)}\n{_documentation(thing)}"
    if inspect.isclass(thing):
        methods = [(key, value) for key, value in vars(thing).items() if inspect.isfunction(value) and key[0] != "_"]
        text += "".join(
            f"\n### {name}.{key}\n\n{_signature(key, value)}\n{_documentation(value)}" for key, value in methods
        )
    return text


def _signature(name: str, thing: Any) -> str:
    """One argument a line where they are many."""
    function = thing.__init__ if inspect.isclass(thing) else thing
    signature = inspect.signature(function)
    parameters = [one for one in signature.parameters.values() if one.name != "self"]
    lines, by_keyword = [], False
    for one in parameters:
        if one.kind is inspect.Parameter.KEYWORD_ONLY and not by_keyword:
            by_keyword = True
            lines.append("*")
        lines.append(_parameter(one).replace("Unpack[Options]", "Any"))
    result = "" if inspect.isclass(thing) else f" -> {signature.return_annotation}"
    before = "async " if inspect.iscoroutinefunction(function) else ""
    whole = f"{before}{name}({', '.join(lines)}){result}"
    if len(whole) > 100:
        whole = f"{before}{name}(\n" + "".join(f"    {line},\n" for line in lines) + f"){result}"
    return block(whole)


def _parameter(one: inspect.Parameter) -> str:
    """As it stands in the source; `str` of it would quote the annotation."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(one.kind, "")
    annotation = "" if one.annotation is one.empty else f": {one.annotation}"
    default = "" if one.default is one.empty else f" = {one.default!r}"
    return f"{stars}{one.name}{annotation}{default}"


def _documentation(thing: Any) -> str:
    """The docstring; examples in it become blocks that show and do not run."""
    parts: list[str] = []
    example: list[str] = []
    for line in [*(inspect.getdoc(thing) or "").splitlines(), ""]:
        if line.startswith((">>> ", "... ")) or (example and line):
            example.append(line.replace("  # doctest: +SKIP", ""))
            continue
        if example:
            parts.append(block("\n".join(example)))
            example = []
        parts.append(line + "\n")
    return "".join(parts).rstrip() + "\n"
