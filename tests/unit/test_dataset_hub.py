"""Data sets of the Hub, by errands that ask the local one."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets_loading import Loads, load_by_errand, request_of

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.hub.errands import Errand


@pytest.fixture
def settings(hub, tmp_path):
    """The object "hub" of a request, with more as it is given."""

    def make(**more):
        return {"endpoint": hub.endpoint, "offline": False, "cache": str(tmp_path / "cache"), "role": "10"} | more

    return make


@pytest.fixture(scope="module")
def processes(shared_hub, tmp_path_factory):
    """A process that asks the Hub, and one that does not."""
    cache = str(tmp_path_factory.mktemp("home"))
    hub = {"endpoint": shared_hub.endpoint, "cache": cache, "role": "10"}
    started = {offline: Loads({**hub, "offline": offline}) for offline in (False, True)}
    yield started
    for process in started.values():
        process.close()


@pytest.fixture
def load(processes):
    """Load with the settings that are given first."""
    return lambda hub, *source, **options: processes[hub["offline"]].load(hub, *source, **options)


@pytest.fixture
def fault(load):
    """The fault of a load."""

    def fault(*source, **options):
        with pytest.raises(RuntimeFault) as caught:
            load(*source, **options)
        return caught.value

    return fault


def test_an_old_name_loads_all_splits_in_order(settings):
    loaded = load_by_errand(settings(), "imdb")
    assert loaded.types == {"text": "text", "label": "integer", "split": "text"}
    assert loaded.columns[1]["comment"] == "labels: 0 neg, 1 pos"
    assert loaded.ok["splits"] == {"train": 400, "test": 200, "unsupervised": 400}
    assert loaded.column("split") == ["train"] * 400 + ["test"] * 200 + ["unsupervised"] * 400
    assert set(loaded.column("label")[600:]) == {"-1"}


@pytest.mark.parametrize("status", [429, 500])
def test_a_hub_that_stumbles_is_asked_again(settings, hub, status):
    hub.fail(status, "/api/datasets/", times=2, headers={"Retry-After": "0"})
    assert load_by_errand(settings(), "imdb", limit=1).ok["splits"]["train"] == 1
    statuses = [one.status for one in hub.requests if "/api/datasets/" in one.path]
    assert statuses[:4] == [status, status, 307, 200]  # it has another name now


@pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")  # of huggingface_hub, when it uploads
def test_a_limit_reads_no_more_than_it_needs(load, fault, settings, hub, hub_api, tmp_path):
    rows = 100_000
    table = pa.table({"id": range(rows), "text": [f"{number:0100d}" for number in range(rows)]})
    pq.write_table(table, tmp_path / "big.parquet", compression="none", use_dictionary=False)
    name = "tester/big-rows"
    hub_api.create_repo(name, repo_type="dataset", exist_ok=True)
    for path in ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"):
        hub_api.upload_file(
            repo_id=name, path_or_fileobj=tmp_path / "big.parquet", path_in_repo=path, repo_type="dataset"
        )
    size = (tmp_path / "big.parquet").stat().st_size
    assert size > 10 << 20
    hub.forget()
    loaded = load(settings(), name, limit=10, columns=["text"])
    assert loaded.column("text") == [f"{number:0100d}" for number in range(10)]
    read = [one for one in hub.requests if ".parquet" in one.path and one.method == "GET"]
    assert all(one.range for one in read)
    assert "00001-of-00002" not in "".join(one.path for one in read)
    assert sum(asked(one) for one in read) < size / 4
    streamed = load(settings(), name, streaming=True, split="train[:120000]")
    assert streamed.ok["rows"] == 120_000


def asked(request):
    """How many bytes a request asked for."""
    first, last = request.range.removeprefix("bytes=").split("-")
    return int(last) - int(first) + 1


def test_only_the_files_of_the_wanted_split_are_downloaded_once(load, fault, settings, hub, tmp_path):
    load(settings(), "stanfordnlp/imdb", split="test")
    files = [path.name for path in (tmp_path / "cache").rglob("*.parquet")]
    assert files == ["test-00000-of-00001.parquet"]
    assert [path for path in (tmp_path / "cache" / "public").iterdir() if path.name.startswith("datasets--")]
    hub.forget()
    assert load(settings(), "stanfordnlp/imdb", split="test").ok["rows"] == 200
    assert not [one for one in hub.requests if ".parquet" in one.path]


def test_offline_after_a_load_and_when_the_hub_is_down(load, fault, settings, hub):
    load(settings(), "imdb", split="test")
    for name in ("imdb", "stanfordnlp/imdb"):
        assert load(settings(offline=True), name, split="test").ok["rows"] == 200
        told = fault(settings(offline=True), name, split="train")
        assert told.sqlstate == "42704"
        assert "not in the cache" in told.message
    with hub.down():
        loaded = load(settings(), "imdb", split="test")
        told = fault(settings(), "FinGPT/fingpt-sentiment-train")
    assert loaded.ok["rows"] == 200
    assert loaded.notices == ['Hub is out of reach; files of data set "imdb" from the cache are used']
    assert told.sqlstate == "08006"
    assert fault(settings(offline=True), "no/such").sqlstate == "42704"


def test_a_private_data_set_is_for_those_who_may_read_it(load, fault, settings, hub, hub_api, tmp_path):
    name = "tester/private-rows"
    hub_api.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
    hub_api.upload_file(repo_id=name, path_or_fileobj=b"x\n1\n", path_in_repo="rows.csv", repo_type="dataset")
    loaded = load(settings(token="hf_reader"), name)
    assert loaded.rows == [["1", "train"]]
    assert load(settings(token="hf_reader"), name, limit=1).rows == [["1", "train"]]
    for other in ({}, {"token": "hf_stranger"}):
        told = fault(settings(role="20", **other), name)
        assert (told.sqlstate, told.message) == (
            "42704",
            f'Hub repository "{name}" does not exist, or may not be read',
        )
    assert fault(settings(role="20", offline=True), name).sqlstate == "42704"
    assert load(settings(offline=True), name).rows == [["1", "train"]]
    places = {path.relative_to(tmp_path / "cache").parts[:2] for path in (tmp_path / "cache").rglob("rows.csv")}
    assert places == {("roles", "10")}
    written = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and b"hf_reader" in path.read_bytes()]
    assert not written


def test_revisions(load, fault, settings, hub_api):
    name = "tester/revised-rows"
    hub_api.create_repo(name, repo_type="dataset", exist_ok=True)
    for number in (1, 2):
        content = f"x\n{number}\n".encode()
        hub_api.upload_file(repo_id=name, path_or_fileobj=content, path_in_repo="rows.csv", repo_type="dataset")
        hub_api.create_tag(name, tag=f"stable-{number}", repo_type="dataset", exist_ok=True)
    commit = hub_api.dataset_info(name, revision="stable-1").sha
    assert load(settings(), name).rows == [["2", "train"]]
    assert load(settings(), name, revision="stable-1").rows == [["1", "train"]]
    assert load(settings(), name, revision=commit).rows == [["1", "train"]]
    assert load(settings(offline=True), name, revision="stable-1").rows == [["1", "train"]]
    told = fault(settings(), name, revision="stable-3")
    assert told.sqlstate == "42704"
    assert "Perhaps you meant" in told.hint
    assert fault(settings(offline=True), name, revision="../../../x").sqlstate == "22023"


def test_wrong_names_subsets_and_splits_are_told_with_what_is_near(load, fault, settings):
    wrong = fault(settings(), "stanfordnlp/imbd")
    assert wrong.sqlstate == "42704"
    assert 'Perhaps you meant "stanfordnlp/imdb".' in wrong.hint
    wrong = fault(settings(), "imdb", subset="plain")
    assert (wrong.sqlstate, wrong.hint) == ("42704", 'Perhaps you meant "plain_text". It has: plain_text.')
    wrong = fault(settings(), "imdb", split="tset")
    assert (wrong.sqlstate, wrong.hint) == ("42704", 'Perhaps you meant "test". It has: train, test, unsupervised.')
    assert fault(settings(), "a/b/c").sqlstate == "58P01"
    for offline in (False, True):
        assert fault(settings(offline=offline), "no such name!").sqlstate == "22023"


def test_what_is_not_allowed_is_refused_by_every_name_and_from_the_cache(load, fault, settings, hub):
    load(settings(), "imdb", split="test")
    hub.forget()
    for more in ({"deny": "stanfordnlp/*"}, {"allow": "imdb"}):
        for offline in (False, True):
            told = fault(settings(offline=offline, **more), "imdb")
            assert (told.sqlstate, told.message) == ("42501", 'Hub repository "stanfordnlp/imdb" is not allowed here')
    assert not [one for one in hub.requests if "resolve" in one.path]


def test_a_broken_download_goes_on_and_its_progress_is_told(load, fault, settings, hub, tmp_path):
    hub.disturb(path="train-00000.*parquet$", method="GET", cut_response=3000)
    loaded = load(settings(), "imdb", split="train")
    assert loaded.ok["rows"] == 400
    phases = [header["progress"]["phase"] for header, _ in loaded.frames if "progress" in header]
    assert "downloading" in phases


def test_what_a_killed_load_leaves_is_removed_by_the_next(settings, tmp_path):
    (tmp_path / "rows.json").write_text("[" + ",".join(['{"a": 1}'] * 600_000) + "]")
    hub = settings(offline=True)
    with Errand.start(hub, request_of("rows.json", hub, [tmp_path])) as errand:
        next(header for header, _ in errand.frames() if "rows" in header)
    left = list((tmp_path / "cache" / "scratch").iterdir())
    assert [path for path in left[0].rglob("*") if path.is_file()]
    assert load_by_errand(hub, "rows.json", directories=[tmp_path], limit=1).ok["rows"] == 1
    assert not list((tmp_path / "cache" / "scratch").iterdir())
