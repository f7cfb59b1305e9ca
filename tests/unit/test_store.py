"""The cache of stored models."""

from __future__ import annotations

import hashlib
import os
import threading
import time

import pytest
from serving import stored_model

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.serving.store import Store, StoredModel, link_files


@pytest.fixture
def make(tmp_path):
    """Make a model out of contents by path: the request's model, and a function that sends its files."""

    def make_model(contents):
        directory = tmp_path / f"source-{time.monotonic_ns()}"
        for path, data in contents.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_bytes(data)
        model = StoredModel.from_request(stored_model(directory))

        def fetch():
            fetch.calls += 1
            for file in model.files:
                data = (directory / file.path).read_bytes()
                for start in range(0, max(len(data), 1), 4):
                    yield file.path, data[start : start + 4]

        fetch.calls = 0
        return model, fetch

    return make_model


def must_not_fetch():
    raise AssertionError("the model was there")
    yield


def test_files_are_fetched_once_and_found_again_by_the_next_process(make, tmp_path):
    model, fetch = make({"config.json": b"{}", "1_Pooling/config.json": b"0123456789", "empty": b""})
    with Store(tmp_path / "cache").use(model, fetch) as directory:
        assert (directory / "config.json").read_bytes() == b"{}"
        assert (directory / "1_Pooling/config.json").read_bytes() == b"0123456789"
        assert (directory / "empty").read_bytes() == b""
    with Store(tmp_path / "cache").use(model, must_not_fetch) as again:
        assert again == directory
        assert again.name == model.digest


def test_the_digest_is_that_of_the_protocol(make):
    model, _ = make({"b": b"x", "a": b"yz"})
    x, yz = hashlib.sha256(b"x").hexdigest(), hashlib.sha256(b"yz").hexdigest()
    assert model.digest == hashlib.sha256(f"a\x002\x00{yz}\nb\x001\x00{x}\n".encode()).hexdigest()


def wrong_content(model):
    yield "a", b"xxxx"
    yield "b", b"y"


def too_short(model):
    yield "a", b"abc"
    yield "b", b"y"


def too_long(model):
    yield "a", b"abcd"
    yield "a", b"e"
    yield "b", b"y"


def missing_file(model):
    yield "a", b"abcd"


def other_order(model):
    yield "b", b"y"
    yield "a", b"abcd"


def one_more(model):
    yield "a", b"abcd"
    yield "b", b"y"
    yield "c", b""


def broken_off(model):
    yield "a", b"abcd"
    raise ConnectionError


@pytest.mark.parametrize("parts", [wrong_content, too_short, too_long, missing_file, other_order, one_more, broken_off])
def test_what_differs_from_the_announcement_leaves_nothing_in_the_cache(make, tmp_path, parts):
    model, fetch = make({"a": b"abcd", "b": b"y"})
    store = Store(tmp_path / "cache")
    with pytest.raises((RuntimeFault, ConnectionError)) as caught, store.use(model, lambda: parts(model)):
        pass
    if isinstance(caught.value, RuntimeFault):
        assert caught.value.sqlstate in ("XX001", "08P01")
    assert list((tmp_path / "cache").iterdir()) == []
    with store.use(model, fetch) as directory:
        assert (directory / "a").read_bytes() == b"abcd"


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a//b", "./a", "", ".", "a/", "a\0b"])
def test_paths_out_of_the_cache_are_refused(path):
    model = {"name": "pgml:1", "digest": "0" * 64, "files": [{"path": path, "size": 1, "sha256": "0"}]}
    with pytest.raises(RuntimeFault, match="not a plain relative path"):
        StoredModel.from_request(model)


def test_a_digest_that_is_not_of_these_files_is_refused(make, tmp_path):
    model = {"name": "pgml:1", "digest": "0" * 64, "files": [{"path": "a", "size": 1, "sha256": "0"}]}
    with pytest.raises(RuntimeFault, match="does not match its files"):
        StoredModel.from_request(model)


@pytest.mark.parametrize("change", [{"files": None}, {"digest": None}, {"files": [{"path": "a"}]}])
def test_a_malformed_model_is_refused(change):
    with pytest.raises(RuntimeFault):
        StoredModel.from_request({"name": "pgml:1", "digest": "0" * 64, "files": [], **change})


def test_one_connection_fills_while_others_wait(make, tmp_path):
    model, fetch = make({"a": b"abcd"})
    store = Store(tmp_path / "cache")
    started, go_on = threading.Event(), threading.Event()
    found = []

    def slow():
        started.set()
        assert go_on.wait(10)
        yield from fetch()

    def use(source):
        with store.use(model, source) as directory:
            found.append((directory / "a").read_bytes())

    threads = [threading.Thread(target=use, args=(source,)) for source in (slow, must_not_fetch, must_not_fetch)]
    threads[0].start()
    assert started.wait(10)
    for thread in threads[1:]:
        thread.start()
    time.sleep(0.05)
    assert found == []
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert found == [b"abcd"] * 3


def test_a_waiter_fills_when_the_first_one_breaks_off(make, tmp_path):
    model, fetch = make({"a": b"abcd"})
    store = Store(tmp_path / "cache")
    started, go_on = threading.Event(), threading.Event()
    found = []

    def breaks_off():
        started.set()
        assert go_on.wait(10)
        yield "a", b"ab"
        raise ConnectionError

    def first():
        with pytest.raises(ConnectionError), store.use(model, breaks_off):
            pass

    def second():
        with store.use(model, fetch) as directory:
            found.append((directory / "a").read_bytes())

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert started.wait(10)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert found == [b"abcd"]


def fill(store, *models):
    for number, (model, fetch) in enumerate(models):
        with store.use(model, fetch) as directory:
            os.utime(directory, (number, number))


def names(tmp_path):
    return {path.name for path in (tmp_path / "cache").iterdir()}


def test_the_least_recently_used_model_is_evicted(make, tmp_path):
    store = Store(tmp_path / "cache", limit=10)
    old, new, third = (make({"a": data}) for data in (b"old.", b"new.", b"3rd."))
    fill(store, old, new)
    with store.use(old[0], must_not_fetch):
        pass
    fill(store, third)
    assert names(tmp_path) == {old[0].digest, third[0].digest}


def test_models_in_use_or_loaded_are_not_evicted(make, tmp_path):
    loaded = set()
    store = Store(tmp_path / "cache", limit=4, loaded=lambda: loaded)
    first, second, third = (make({"a": data}) for data in (b"1st.", b"2nd.", b"3rd."))
    with store.use(*first):
        fill(store, second)
        assert names(tmp_path) == {first[0].digest, second[0].digest}
        loaded.add(second[0].digest)
        fill(store, third)
        assert names(tmp_path) == {first[0].digest, second[0].digest, third[0].digest}
    loaded.clear()
    with store.use(*make({"a": b"4th."})):
        assert len(names(tmp_path)) == 1


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / "cache/filling-x/sub").mkdir(parents=True)
    Store(tmp_path / "cache")
    assert names(tmp_path) == set()


def test_a_model_cut_short_by_a_crash_is_fetched_again(make, tmp_path):
    model, fetch = make({"a": b"abcd"})
    store = Store(tmp_path / "cache")
    fill(store, (model, fetch))
    os.truncate(tmp_path / "cache" / model.digest / "a", 0)
    with store.use(model, fetch) as directory:
        assert (directory / "a").read_bytes() == b"abcd"
    assert fetch.calls == 2


def test_linked_files_outlive_their_source_and_take_no_room(tmp_path):
    (tmp_path / "source/1_Pooling").mkdir(parents=True)
    (tmp_path / "source/1_Pooling/config.json").write_text("{}")
    link_files(tmp_path / "source", tmp_path / "job/base")
    linked = tmp_path / "job/base/1_Pooling/config.json"
    assert linked.samefile(tmp_path / "source/1_Pooling/config.json")
    link_files(tmp_path / "source", tmp_path / "job/base")
    assert linked.read_text() == "{}"
