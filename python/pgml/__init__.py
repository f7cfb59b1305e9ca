"""pgml: tuning and serving of language models inside PostgreSQL.

Importing this package imports nothing else: the runtime's processes import it too, and need no psycopg.
What is named here comes with its module at the first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.2.0"
__all__ = ["OpenSourceAI", "TunedModel", "generate", "jobs", "metrics", "predict", "transform", "tune"]

if TYPE_CHECKING:
    from pgml.open_source_ai import OpenSourceAI
    from pgml.queries import generate, jobs, metrics, predict, transform
    from pgml.tuning import TunedModel, tune
else:
    _MODULES = {
        "open_source_ai": ["OpenSourceAI"],
        "queries": ["generate", "jobs", "metrics", "predict", "transform"],
        "tuning": ["TunedModel", "tune"],
    }
    _HOMES = {name: module for module, names in _MODULES.items() for name in names}

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'pgml' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"pgml.{_HOMES[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
