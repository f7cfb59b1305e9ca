"""Suggest the valid name nearest to a wrong one. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pgml.runtime.errors import INVALID_PARAMETER_VALUE, RuntimeFault

LONG_LIST = 30


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name most like this one, if any is.

    >>> nearest("tok_k", ["function_to_apply", "top_k"])
    'top_k'
    """
    matches = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return matches[0] if matches else None


def quoted_list(names: Iterable[str]) -> str:
    """Names for a message, sorted."""
    return ", ".join(sorted(names))


def alternatives(name: str, names: Iterable[str]) -> str:
    """The hint for a name that something does not have; names stay in their order.

    >>> alternatives("tset", ["train", "test"])
    'Perhaps you meant "test". It has: train, test.'
    """
    names = list(names)
    close = nearest(name, names)
    return (f'Perhaps you meant "{close}". ' if close else "") + f"It has: {', '.join(names)}."


def check_names(names: Iterable[str], valid: Iterable[str], what: str, owner: str) -> None:
    """Refuse names that are not valid, all in one error: `unknown argument "tok_k" for text-classification`."""
    valid = list(valid)
    unknown = sorted(set(names) - set(valid))
    if not unknown:
        return
    close = [(name, nearest(name, valid)) for name in unknown]
    suggestions = "".join(f'Perhaps you meant "{match}" for "{name}". ' for name, match in close if match)
    # A long list says less than a good guess.
    listed = "" if suggestions and len(valid) > LONG_LIST else f"Valid are: {quoted_list(valid)}."
    quoted = ", ".join(f'"{name}"' for name in unknown)
    raise RuntimeFault(
        f"unknown {what}{'s' if len(unknown) > 1 else ''} {quoted} for {owner}",
        sqlstate=INVALID_PARAMETER_VALUE,
        hint=(suggestions + listed).strip(),
    )
