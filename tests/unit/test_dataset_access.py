"""What may be loaded and what may be asked: directories, addresses, arguments."""

from __future__ import annotations

import functools
import http.server
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets_loading import load_here

from pgml.runtime.errors import RuntimeFault

OUTSIDE = "is not below a directory from which data may be loaded"


def refused(sqlstate, message, *load, **options):
    with pytest.raises(RuntimeFault, match=message) as caught:
        load_here(*load, **options)
    assert caught.value.sqlstate == sqlstate
    return caught.value


@pytest.fixture
def directory(tmp_path):
    """An allowed directory beside a file that is not for everybody."""
    (tmp_path / "secret.csv").write_text("secret\n1\n")
    (tmp_path / "allowed" / "inner").mkdir(parents=True)
    (tmp_path / "allowed" / "rows.csv").write_text("x\n1\n")
    return tmp_path / "allowed"


@pytest.mark.parametrize("name", ["secret.csv", "no such file.csv", ".", "allowed-not/x.csv"])
def test_what_is_outside_is_refused_alike_whether_it_is_there_or_not(directory, name):
    outside = directory.parent / name
    refusals = [
        refused("42501", OUTSIDE, outside, directory),
        refused("42501", OUTSIDE, f"../{name}", directory),
        refused("42501", OUTSIDE, directory / "inner" / ".." / ".." / name, directory),
        refused("42501", OUTSIDE, "csv", directory, data_files=str(outside)),
        refused("42501", OUTSIDE, "csv", directory, data_files=[f"../{name}"]),
        refused("42501", OUTSIDE, "csv", directory, data_files={"train": f"inner/../../{name}"}),
        refused("42501", OUTSIDE, "csv", directory, data_files=f"{directory.parent}/*.csv"),
        refused("42501", OUTSIDE, "csv", directory, data_files="*/../../*.csv"),
        refused("42501", OUTSIDE, "csv", directory, data_dir="..", data_files=name),
    ]
    assert {fault.hint for fault in refusals} == {
        "The setting pgml.data_directories says from which directories files may be loaded."
    }
    assert {fault.detail for fault in refusals} == {None}


def test_links_lead_nowhere_outside(directory):
    secret = directory.parent / "secret.csv"
    (directory / "file.csv").symlink_to(secret)
    (directory / "gone.csv").symlink_to(directory.parent / "gone.csv")
    (directory / "up").symlink_to(directory.parent)
    (directory / "file").symlink_to(secret)
    (directory / "file::x.csv").write_text("x\n1\n")
    (directory / "loop.csv").symlink_to(directory / "loop.csv")
    for name in ("file.csv", "gone.csv", "up", "up/secret.csv"):
        refused("42501", OUTSIDE, name, directory)
        refused("42501", OUTSIDE, "csv", directory, data_files=name)
    refused("42501", OUTSIDE, "csv", directory, data_files="*.csv")
    refused("42501", OUTSIDE, "csv", directory, data_files="up/*.csv")
    refused("42501", OUTSIDE, directory, directory, data_files="file.csv")
    refused("42501", OUTSIDE, "csv", directory, data_files="file*x.csv")
    (directory / "inner" / "again.csv").symlink_to(directory / "rows.csv")
    assert load_here("inner/again.csv", directory).column("x") == ["1"]


def test_without_directories_no_file_is_found(directory):
    refused("42501", OUTSIDE, directory / "rows.csv")
    refused("42501", OUTSIDE, "csv", data_files="rows.csv")


def test_a_card_leads_nowhere_outside(directory):
    (directory / "README.md").write_text("---\nconfigs: [{config_name: a, data_files: ../secret.csv}]\n---\n")
    refused("58P01", 'file "../secret.csv" does not exist', directory, directory)
    absolute = f"---\nconfigs: [{{config_name: a, data_files: '{directory.parent}/*.csv'}}]\n---\n"
    (directory / "README.md").write_text(absolute)
    refused("58P01", "lacks the data files", directory, directory)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/a.csv",
        "https://example.org/a.csv",
        "s3://bucket/a.csv",
        "hf://datasets/org/name/a.csv",
        "file:///etc/passwd",
        "zip://a.csv::http://127.0.0.1:1/a.zip",
        "simplecache::http://127.0.0.1:1/a.csv",
        "HTTP://127.0.0.1:1/a.csv",
    ],
)
def test_urls_are_refused_wherever_they_stand(directory, url):
    for source, files in (
        (url, None),
        ("csv", url),
        ("csv", [url]),
        ("csv", {"test": ["rows.csv", url]}),
        (directory, url),
    ):
        fault = refused(
            "42501", "is not allowed here", source, directory, data_files=files, urls="https://example.com/*"
        )
        assert fault.hint.startswith("The setting pgml.data_urls")


@pytest.fixture
def site(tmp_path):
    """A server of the files in a directory, which redirects as its path says."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            _, found, target = self.path.partition("/to/")
            if not found:
                return super().do_GET()
            self.send_response(302)
            self.send_header("Location", f"/{target}")
            self.end_headers()
            return None

        def log_message(self, *_):
            pass

    (tmp_path / "site").mkdir()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path / "site"))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path / "site", f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_allowed_url_is_loaded(site):
    folder, address = site
    (folder / "rows.csv").write_text("x\n1\n")
    pq.write_table(pa.table({"y": [2]}), folder / "rows.parquet")
    urls = f"https://example.org/*, {address}/*"
    assert load_here(f"{address}/rows.csv", urls=urls).rows == [["1", "train"]]
    files = {"train": f"{address}/rows.parquet", "test": f"{address}/to/rows.parquet?download=1"}
    assert load_here("parquet", urls=urls, data_files=files).rows == [["2", "train"], ["2", "test"]]
    fault = refused("58P01", "could not load", f"{address}/none.csv?token=x", urls=urls)
    assert "404" in fault.detail
    assert "token" not in fault.message


def test_a_redirect_leads_nowhere_that_is_not_allowed(site):
    folder, address = site
    (folder / "rows.csv").write_text("x\n1\n")
    refused("42501", f'URL "{address}/rows.csv" is not allowed', f"{address}/to/rows.csv", urls=f"{address}/to/*")
    refused("42501", "is not allowed", f"{address}/to/../rows.csv", urls=f"{address}/to/*")
    refused("42501", "is not allowed", f"{address}/to/%2e%2e/rows.csv", urls=f"{address}/to/*")
    refused("08006", "too many redirects", f"{address}/to/to/to/" + "to/" * 20 + "rows.csv", urls=f"{address}/*")


def test_urls_that_are_allowed_but_not_spoken(directory):
    for url in ("s3://bucket/a.csv", "hf://datasets/o/n/a.csv", "zip://a.csv::http://host/a.zip", "file:///etc/passwd"):
        refused("0A000", "cannot load from URL", url, directory, urls="*")


def test_all_mistakes_are_told_at_once():
    fault = refused(
        "22023",
        "6 settings are not valid",
        "imdb",
        subset="a",
        limit=-1,
        colums=["a"],
        split=1,
        name="b",
        features={},
        header="yes",
    )
    assert fault.detail.splitlines() == [
        'Unknown key "colums" in kwargs.',
        'Unknown key "features" in kwargs.',
        '"header" in kwargs must be an integer, an array of integers or "infer", not "yes".',
        '"split" in kwargs must be text or an array of texts, not 1.',
        "The subset is given twice, as subset and as kwargs.name.",
        "Limit must not be negative.",
    ]
    assert 'Perhaps you meant "columns" for "colums".' in fault.hint


@pytest.mark.parametrize(
    "key",
    "features converters date_parser storage_options download_config fs engine dtype dialect filters num_proc cache_dir"
    " token download_mode verification_mode keep_in_memory memory_map on_bad_files fragment_scan_options".split(),
)
def test_what_runs_code_or_reaches_beyond_is_no_argument(key, directory):
    refused("22023", f'unknown key "{key}" in kwargs', "rows.csv", directory, **{key: "x"})


def test_code_of_data_sets_is_never_run(directory):
    refused("0A000", "code of data sets is never run", "rows.csv", directory, trust_remote_code=True)
    assert load_here("rows.csv", directory, trust_remote_code=False, revision=None).ok["rows"] == 1


def test_options_must_fit_the_format(directory):
    (directory / "rows.jsonl").write_text('{"a": 1}\n')
    fault = refused("22023", 'unknown key "sep" in kwargs for json files', "rows.jsonl", directory, sep=";")
    assert fault.hint == "kwargs for json files takes: encoding, encoding_errors, field."
    refused("22023", "has no subset and no files", "rows.csv", directory, data_files="rows.csv")
