"""The limits of memory and of the cache: the least recently used models make room, and come back when asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from tests.cluster import Database, make_database, throwaway
from tests.integration.jobs import label, refusal
from tests.integration.stored import store_model

MEGABYTE = 1 << 20
LABELS = ("negative", "neutral", "positive")


@pytest.fixture(scope="module")
def tight(model_directory) -> Iterator[Database]:
    """A cluster with the smallest limits there are: 1 MB of memory for models, 1 MB of disk."""
    limits = {"pgml.model_memory_limit": "1MB", "pgml.model_cache_limit": "1MB"}
    with throwaway(model_directory, **limits) as cluster:
        yield make_database(cluster)


def test_the_least_recently_used_models_leave_memory(tight):
    names = ("bert-classifier", "bert-nli", "llama-classifier")
    wanted = [
        f'{{"task": "text-classification", "model": "{name}", "dtype": "{dtype}"}}'
        for dtype, name in itertools.product(("float32", "bfloat16", "float16"), names)
    ]
    wanted += ['{"task": "feature-extraction", "model": "bert"}', '{"task": "feature-extraction", "model": "bert-nli"}']
    wanted += [
        '{"task": "fill-mask", "model": "bert-masked"}',
        '{"task": "token-classification", "model": "bert-tokens"}',
    ]
    with tight.connect() as connection:
        loads = 0
        for task in wanted:
            connection.execute("SELECT pgml.transform(%s::jsonb, inputs => ARRAY['a [MASK]'])", [task])
            names_now = [row[0] for row in connection.execute("SELECT name FROM pgml.loaded_models").fetchall()]
            (in_memory,) = connection.execute("SELECT sum(bytes) FROM pgml.loaded_models").fetchone()
            assert in_memory <= MEGABYTE
            loads += 1
        assert len(names_now) < loads
        assert names_now[0] == "bert-tokens"  # the last one used comes first
        first = "SELECT count(*) FROM pgml.loaded_models WHERE name = 'bert-classifier' AND bytes > 100000"
        assert connection.execute(first).fetchone() == (0,)
        connection.execute("SELECT pgml.transform(%s::jsonb, inputs => ARRAY['x'])", [wanted[0]])
        assert connection.execute(first).fetchone() == (1,)


def test_a_model_above_the_limit_is_a_clear_error(tight):
    with tight.connect() as connection:
        task = '{"task": "feature-extraction", "model": "all-MiniLM-L6-v2"}'
        said = refusal(connection, "SELECT pgml.transform(%s::jsonb, inputs => ARRAY['x'])", task)
        assert said.sqlstate == "53200"
        assert said.message_hint
        assert connection.execute(
            """SELECT pgml.transform('{"model": "bert-classifier"}'::jsonb, inputs => ARRAY['x'])"""
        ).fetchone()[0]


def test_the_least_recently_used_models_leave_the_cache(tight, model_directory):
    """Each takes nearly all of the memory while it is loaded, because of a file of weights that nothing reads."""
    cache = tight.cluster.data / "pgml" / "cache"
    digests = {}
    for name in ("one", "two", "three"):
        extra = {"unused.safetensors": name.encode().ljust(900_000)}
        model_id = store_model(tight, name, model_directory / "bert-classifier", extra)
        digests[name] = tight.value("SELECT digest FROM pgml.models WHERE id = %s", model_id)
        assert label(tight, name, "x") in LABELS
        assert (cache / digests[name]).is_dir()
    assert not (cache / digests["one"]).exists()
    assert label(tight, "one", "x") in LABELS
    assert (cache / digests["one"]).is_dir()
    assert not [path for path in cache.iterdir() if path.name.startswith("filling")]
