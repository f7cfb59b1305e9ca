"""The base model that an adapter was tuned on: its name, and whether it is still the same. Knows no client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pgml.runtime.bases import weights_digest
from pgml.runtime.errors import INVALID_PARAMETER_VALUE, OBJECT_NOT_IN_PREREQUISITE_STATE, Cancelled, RuntimeFault
from pgml.runtime.serving.directories import ADAPTER_CONFIG, pgml_settings, read_json
from pgml.runtime.serving.models import ModelDirectory


@dataclass(frozen=True)
class Base:
    """What an adapter says of its base; an adapter that pgml did not tune knows no digest."""

    name: str
    digest: str | None
    revision: str | None


def base_of(adapter: ModelDirectory) -> Base:
    """The base of a directory that holds an adapter."""
    stored = pgml_settings(adapter.path, adapter.name).get("base")
    if not stored:
        config = read_json(Path(adapter.path, ADAPTER_CONFIG), adapter.name)
        stored = {"name": config.get("base_model_name_or_path"), "revision": config.get("revision")}
    name = stored.get("name")
    if not name:
        raise RuntimeFault(
            f'adapter "{adapter.name}" does not name its base model',
            sqlstate=INVALID_PARAMETER_VALUE,
            hint=f"Set base_model_name_or_path in its {ADAPTER_CONFIG}.",
        )
    return Base(str(name), stored.get("digest"), stored.get("revision"))


def check_unchanged(base: Base, adapter: str, path: str) -> None:
    """Refuse a base whose weights are not those that the adapter was tuned on."""
    if base.digest and weights_digest(path) != base.digest:
        raise RuntimeFault(
            f'base model "{base.name}" of "{adapter}" has changed since it was tuned',
            sqlstate=OBJECT_NOT_IN_PREREQUISITE_STATE,
            hint="Tune again on the base as it is now, or put the base back as it was.",
        )


@contextmanager
def explained(base: Base, adapter: str) -> Iterator[None]:
    """Say of a fault which base it is about."""
    try:
        yield
    except Cancelled:
        raise
    except RuntimeFault as fault:
        message = f'base model "{base.name}" of "{adapter}" cannot be used: {fault.message}'
        raise RuntimeFault(message, sqlstate=fault.sqlstate, detail=fault.detail, hint=fault.hint) from fault
