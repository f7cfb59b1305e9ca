"""What a caller of load_dataset asks for, checked before anything is read. Knows nothing of files and of the Hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pgml.runtime.errors import FEATURE_NOT_SUPPORTED
from pgml.runtime.mistakes import Mistakes, shown

DEFAULT_LABEL_SUFFIX = "_name"


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _list_of(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and bool(value) and all(test(item) for item in value)


def _texts(value: Any) -> bool:
    return _text(value) or _list_of(_text)(value)


def _numbers(value: Any) -> bool:
    return _number(value) or _list_of(_number)(value)


def _header(value: Any) -> bool:
    return value == "infer" or _numbers(value)


def _columns(value: Any) -> bool:
    return _number(value) or _text(value) or _list_of(_number)(value) or _list_of(_text)(value)


def _label_names(value: Any) -> bool:
    return _flag(value) or (_text(value) and bool(value))


def _revision(value: Any) -> bool:
    # It becomes a path in the cache. Git allows none of these either.
    return _text(value) and bool(value) and not value.startswith("/") and ".." not in value and "\0" not in value


def _data_files(value: Any) -> bool:
    return _texts(value) or (isinstance(value, dict) and bool(value) and all(_texts(item) for item in value.values()))


Check = tuple[Callable[[Any], bool], str]
"""What a value must be, also in words."""
TEXT, TEXTS, FLAG, NUMBER = (
    (_text, "text"),
    (_texts, "text or an array of texts"),
    (_flag, "true or false"),
    (_number, "an integer"),
)
SETTINGS: dict[str, Check] = {
    "split": TEXTS,
    "data_files": (_data_files, "text, an array of texts, or an object of these by split"),
    "data_dir": TEXT,
    "streaming": FLAG,
    "revision": (_revision, "the name of a branch, a tag or a commit"),
    "name": TEXT,
    "label_names": (_label_names, "true, false or text"),
    "columns": (_list_of(_text), "an array of texts"),
}
# What the builders of datasets take and is plain data.
CSV: dict[str, Check] = {
    "sep": TEXT,
    "delimiter": TEXT,
    "header": (_header, 'an integer, an array of integers or "infer"'),
    "names": (_list_of(_text), "an array of texts"),
    "column_names": (_list_of(_text), "an array of texts"),
    "index_col": (_columns, "a column or an array of columns"),
    "usecols": (_columns, "an array of columns"),
    "true_values": TEXTS,
    "false_values": TEXTS,
    "skipinitialspace": FLAG,
    "skiprows": (_numbers, "an integer or an array of integers"),
    "nrows": NUMBER,
    "na_values": TEXTS,
    "keep_default_na": FLAG,
    "na_filter": FLAG,
    "skip_blank_lines": FLAG,
    "thousands": TEXT,
    "decimal": TEXT,
    "lineterminator": TEXT,
    "quotechar": TEXT,
    "quoting": NUMBER,
    "escapechar": TEXT,
    "comment": TEXT,
    "encoding": TEXT,
    "encoding_errors": TEXT,
    "skipfooter": NUMBER,
    "doublequote": FLAG,
    "on_bad_lines": TEXT,
    "date_format": TEXT,
}
JSON: dict[str, Check] = {"field": TEXT, "encoding": TEXT, "encoding_errors": TEXT}
LINES: dict[str, Check] = {"encoding": TEXT, "encoding_errors": TEXT, "keep_linebreaks": FLAG, "sample_by": TEXT}
OPTIONS: dict[str, dict[str, Check]] = {
    "csv": CSV,
    "json": JSON,
    "text": LINES,
    "parquet": {},
    "arrow": {},
}
VALID = SETTINGS | CSV | JSON | LINES


@dataclass(frozen=True)
class Arguments:
    """What to load, and which part of it."""

    source: str
    subset: str | None = None
    limit: int | None = None
    splits: list[str] | None = None
    data_files: Any = None
    data_dir: str | None = None
    streaming: bool = False
    revision: str | None = None
    label_suffix: str | None = None
    columns: list[str] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """Of the builder of the files' format."""

    @classmethod
    def from_request(cls, request: dict[str, Any]) -> Arguments:
        """Read and check a request."""
        kwargs = {key: value for key, value in (request.get("kwargs") or {}).items() if value is not None}
        subset, limit = request.get("subset"), request.get("limit")
        mistakes = Mistakes()
        if kwargs.pop("trust_remote_code", False):
            mistakes.add("code of data sets is never run", sqlstate=FEATURE_NOT_SUPPORTED)
        mistakes.add_unknown(kwargs, VALID, "kwargs")
        for key in sorted(kwargs.keys() & VALID.keys()):
            test, expected = VALID[key]
            if not test(kwargs[key]):
                mistakes.add(f'"{key}" in kwargs must be {expected}, not {shown(key, kwargs[key])}')
        if subset is not None and kwargs.get("name", subset) != subset:
            mistakes.add("the subset is given twice, as subset and as kwargs.name")
        if limit is not None and limit < 0:
            mistakes.add("limit must not be negative")
        if not request.get("source"):
            mistakes.add("source is empty")
        mistakes.raise_if_any()
        splits = kwargs.get("split")
        suffix = kwargs.get("label_names", False)
        return cls(
            source=request["source"],
            subset=subset or kwargs.get("name"),
            limit=limit,
            splits=[splits] if isinstance(splits, str) else splits,
            data_files=kwargs.get("data_files"),
            data_dir=kwargs.get("data_dir"),
            streaming=kwargs.get("streaming", False),
            revision=kwargs.get("revision"),
            label_suffix=DEFAULT_LABEL_SUFFIX if suffix is True else suffix or None,
            columns=kwargs.get("columns"),
            options={key: value for key, value in kwargs.items() if key not in SETTINGS},
        )

    def check_options(self, format_: str) -> None:
        """Refuse options that the files' format does not have."""
        mistakes = Mistakes()
        mistakes.add_unknown(self.options, OPTIONS[format_], f"kwargs for {format_} files")
        mistakes.raise_if_any()
