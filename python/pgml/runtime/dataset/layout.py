"""Which subsets and splits the files of a data set are, and how they are read: from its card, and from their names.

Follows the conventions of datasets. Knows only names of files; opens none.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from datasets import data_files as conventions
from datasets.info import DatasetInfo, DatasetInfosDict
from datasets.load import infer_module_for_data_files_list
from datasets.utils.metadata import MetadataConfigs
from fsspec.utils import glob_translate  # type: ignore[import-untyped]  # it has no types
from huggingface_hub import DatasetCard, DatasetCardData

from pgml.runtime.dataset.arguments import OPTIONS, Arguments
from pgml.runtime.errors import (
    BAD_FILE_FORMAT,
    FEATURE_NOT_SUPPORTED,
    INVALID_PARAMETER_VALUE,
    UNDEFINED_FILE,
    UNDEFINED_OBJECT,
    RuntimeFault,
)
from pgml.runtime.nearest import alternatives, nearest, quoted_list

CARD, OLD_CARD = "README.md", "dataset_infos.json"
CARDS = (CARD, OLD_CARD)
DEFAULT = "default"
PREFERRED = "text csv json arrow parquet"
"""The last one of those of which there are as many files."""
DOCUMENTS = ("harbor",)
"""What datasets takes every text in Markdown for."""

ReadText = Callable[[str], str]
Files = dict[str, list[str]]
"""The names of the files of each split."""


@dataclass(frozen=True)
class Layout:
    """One subset of a data set."""

    format: str
    files: Files
    options: dict[str, Any] = field(default_factory=dict)
    features: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """What a data set says of itself."""

    subsets: MetadataConfigs
    infos: DatasetInfosDict

    @classmethod
    def read(cls, names: set[str], read: ReadText, title: str) -> Card:
        """Read the files that describe it, where there are any."""
        try:
            data = DatasetCard(read(CARD), ignore_metadata_errors=False).data if CARD in names else DatasetCardData()
            infos = DatasetInfosDict.from_dataset_card_data(data)
            if OLD_CARD in names:
                infos = DatasetInfosDict({**_old_infos(json.loads(read(OLD_CARD))), **infos})
            return cls(MetadataConfigs.from_dataset_card_data(data), infos)
        except Exception as error:  # whatever somebody's card makes its readers raise
            raise RuntimeFault(
                f'card of data set "{title}" is not valid', sqlstate=BAD_FILE_FORMAT, detail=f"{error}"
            ) from error

    def subset(self, wanted: str | None, title: str) -> str:
        """The name of the wanted subset, or of the default one."""
        offered = list(self.subsets) or list(self.infos) or [DEFAULT]
        if wanted is not None:
            if wanted in offered:
                return wanted
            raise RuntimeFault(
                f'subset "{wanted}" does not exist in data set "{title}"',
                sqlstate=UNDEFINED_OBJECT,
                hint=alternatives(wanted, sorted(offered)),
            )
        if not self.subsets:
            return offered[0] if len(offered) == 1 else DEFAULT
        default: str | None = self.subsets.get_default_config_name()
        if default is None:
            raise RuntimeFault(
                f'data set "{title}" has several subsets and no default',
                sqlstate=INVALID_PARAMETER_VALUE,
                hint=f"Give one of them as subset: {quoted_list(offered)}.",
            )
        return default


def layout_of(names: list[str], read: ReadText, arguments: Arguments, title: str) -> Layout:
    """How the files of a data set are to be read."""
    script = PurePosixPath(title).name + ".py"
    if script in names:
        raise RuntimeFault(
            f'data set "{title}" is a program',
            sqlstate=FEATURE_NOT_SUPPORTED,
            detail=f"It is loaded by {script}, and code of data sets is never run.",
            hint="Many such data sets have a branch with files: try kwargs.revision 'refs/convert/parquet'.",
        )
    card = Card.read(set(names), read, title)
    subset = card.subset(arguments.subset, title)
    settings = card.subsets.get(subset, {})
    format_, implied, files = _of_one_format(_files(names, settings, arguments, title), title)
    options = {key: value for key, value in settings.items() if key in OPTIONS[format_]}
    info = card.infos.get(subset) or DatasetInfo()
    return Layout(
        format_,
        files,
        implied | options,
        dict(settings.get("features") or info.features or {}),
        {name: split.num_examples for name, split in (info.splits or {}).items() if split.num_examples},
    )


def explicit_layout(files: Files, format_: str | None, title: str) -> Layout:
    """How files are to be read that were named one by one."""
    if format_ is None:
        format_, options, files = _of_one_format(files, title)
        return Layout(format_, files, options)
    found = [_format(name) for names in files.values() for name in names]
    return Layout(format_, files, next((options for name, options in found if name == format_), {}))


def by_split(data_files: Any) -> Files:
    """The argument data_files as patterns for each split."""
    return {str(split): list(patterns) for split, patterns in conventions.sanitize_patterns(data_files).items()}


def matching(pattern: str, names: list[str]) -> list[str]:
    """The names that a pattern means, as datasets does it.

    >>> matching("data/train-*", ["README.md", "data/train-0.csv", "data/.train-1", "train-2.csv"])
    ['data/train-0.csv']
    """
    regular = re.compile(glob_translate(pattern.removeprefix("./")))
    ignored = set(conventions.FILES_TO_IGNORE) - {PurePosixPath(pattern).name}
    return [
        name
        for name in names
        if regular.match(name)
        and PurePosixPath(name).name not in ignored
        and not conventions._is_inside_unrequested_special_dir(name, pattern)  # noqa: SLF001 the library's own rule
        and not conventions._is_unrequested_hidden_file_or_is_inside_unrequested_hidden_dir(name, pattern)  # noqa: SLF001 the same
    ]


def _files(names: list[str], settings: dict[str, Any], arguments: Arguments, title: str) -> Files:
    folder = arguments.data_dir or settings.get("data_dir")
    prefix = f"{PurePosixPath(folder)}/" if folder else ""
    inner = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    patterns = arguments.data_files or (None if arguments.data_dir else settings.get("data_files"))
    try:
        wanted = by_split(patterns) if patterns else _by_names(inner)
    except (FileNotFoundError, ValueError) as error:
        where = f' in "{folder}"' if folder else ""
        detail = f"{error}." if isinstance(error, ValueError) else None
        message = f'data set "{title}" has no data files{where}'
        raise RuntimeFault(message, sqlstate=UNDEFINED_FILE, detail=detail) from None
    files: Files = {}
    for split, list_ in wanted.items():
        found = [name for pattern in list_ for name in _found(pattern, inner, title)]
        if found:
            files[str(split)] = [prefix + name for name in dict.fromkeys(found)]
    if not files:
        raise RuntimeFault(f'data set "{title}" lacks the data files that its card names', sqlstate=UNDEFINED_FILE)
    return files


def _by_names(names: list[str]) -> Files:
    """The patterns of the splits that the names of files and folders speak of."""
    return conventions._get_data_files_patterns(lambda pattern: matching(pattern, names))  # type: ignore[no-any-return]  # noqa: SLF001


def _found(pattern: str, names: list[str], title: str) -> list[str]:
    found = matching(pattern, names)
    if not found and not conventions.contains_wildcards(pattern):
        close = nearest(pattern, names)
        raise RuntimeFault(
            f'file "{pattern}" does not exist in data set "{title}"',
            sqlstate=UNDEFINED_FILE,
            hint=f'Perhaps you meant "{close}".' if close else None,
        )
    return found


def format_of(name: str) -> str | None:
    """The format that a file has by its name."""
    return _format(name)[0]


def _of_one_format(files: Files, title: str) -> tuple[str, dict[str, Any], Files]:
    """The format that most of the files have, what their extension says of its options, and the files that have it."""
    formats = {name: _format(name) for names in files.values() for name in names}
    counts = Counter(format_ for format_, _ in formats.values() if format_)
    common = max(counts, key=lambda format_: (counts[format_], PREFERRED.find(format_)), default=None)
    if common not in OPTIONS:
        raise RuntimeFault(
            f'files of data set "{title}" cannot be loaded',
            sqlstate=FEATURE_NOT_SUPPORTED,
            detail=f"Most of them are {common} files." if common else "Their names do not say their format.",
            hint=f"Give their format as source, one of {quoted_list(OPTIONS)}, and their paths in kwargs.data_files.",
        )
    chosen = {split: [name for name in names if formats[name][0] == common] for split, names in files.items()}
    for split, names in chosen.items():
        if not names:
            raise RuntimeFault(
                f'files of split "{split}" have another format than others',
                sqlstate=FEATURE_NOT_SUPPORTED,
                detail=f"Most files of the data set are {common} files; these are {_format(files[split][0])[0]} files.",
                hint="Load the files apart by kwargs.data_files.",
            )
    options = next(options for format_, options in formats.values() if format_ == common)
    return common, options, chosen


def _format(name: str) -> tuple[str | None, dict[str, Any]]:
    r"""The builder of datasets for a file, and its options.

    >>> _format("a/train.tsv.gz"), _format("NOTES.md")
    (('csv', {'sep': '\t'}), (None, {}))
    """
    format_, options = infer_module_for_data_files_list([re.sub(r"\.zip$", "", name, flags=re.IGNORECASE)])
    return (None, {}) if format_ in DOCUMENTS else (format_, dict(options))


def _old_infos(infos: dict[str, Any]) -> dict[str, DatasetInfo]:
    found = {name: DatasetInfo.from_dict(info) for name, info in infos.items()}
    return {DEFAULT: next(iter(found.values()))} if len(found) == 1 else found
