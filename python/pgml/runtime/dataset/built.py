"""Rows of CSV, JSON and text files, by the builders of datasets. Knows nothing of other formats."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import DownloadConfig, Features
from datasets.data_files import DataFilesDict, DataFilesList
from datasets.download import StreamingDownloadManager
from datasets.load import import_main_class
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES
from datasets.utils.file_utils import xopen

from pgml.runtime.dataset import json_arrays


def tables(format_: str, location: str, options: dict[str, Any], token: str | bool) -> Iterator[pa.Table]:
    """The rows of a file, as many at once as the options say."""
    downloads = DownloadConfig(token=token)
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as opened:
        builder = import_main_class(_PACKAGED_DATASETS_MODULES[format_][0])(
            cache_dir=directory,
            data_files=DataFilesDict({"train": DataFilesList([location], [()])}),
            token=token,
            **options,
        )
        builder.info.features = Features()  # so that it reads nothing yet
        [split] = builder._split_generators(StreamingDownloadManager(download_config=downloads))  # noqa: SLF001 theirs
        builder.info.features = None  # columns are cast by who knows the first file's
        files = split.gen_kwargs
        [names] = files["files_iterables"]  # more than one if it is an archive
        if format_ == "csv":
            # Files, because this builder does not close what it opens.
            names = [opened.enter_context(xopen(name, "rb", download_config=downloads)) for name in names]
        elif format_ == "json" and builder.config.field is None:
            names = _without_arrays(names, Path(directory) / "part.jsonl", builder.config, downloads)
        files["files_iterables"] = [names]
        for _, table in builder._generate_tables(**files):  # noqa: SLF001 theirs
            yield table


def _without_arrays(names: Iterable[str], path: Path, config: Any, downloads: DownloadConfig) -> Iterator[str]:
    """The names of the files, with files of lines in the place of arrays."""
    text = {"encoding": config.encoding, "errors": config.encoding_errors, "download_config": downloads}
    for name in names:
        with xopen(name, "r", **text) as file:
            is_array = json_arrays.begins_array(file)
        if not is_array:
            yield name
            continue
        with xopen(name, "r", **text) as file:
            yield from json_arrays.parts(file, path, config.chunksize)
