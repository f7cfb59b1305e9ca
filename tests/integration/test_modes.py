"""Shared and embedded mode give the same: each call is made in both, and the answers are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import psycopg
import pytest
from tests.integration.bad_input import BAD, BAD_CALLS, make_bad_models, make_relations, renamed
from tests.integration.hub_calls import CLASSIFIER, transform
from tests.integration.hub_database import connected_to
from tests.integration.jobs import REVIEWS_JOB, listen, refusal, tune, tune_reviews
from tests.integration.test_tune_conversation import JOB as CONVERSATION_JOB
from tests.integration.test_tune_conversation import ROWS as TALKS

pytestmark = pytest.mark.private_cluster("the server needs PL/Python")

FILES = "SELECT path, part, size, sha256, md5(data) FROM pgml.files WHERE model_id = %s ORDER BY path, part"
LOGS = "SELECT logs - '{timestamp}'::text[] FROM pgml.logs WHERE model_id = %s ORDER BY id"
TIMES = ("runtime", "per_second", "peak_memory_bytes")


class Modes(NamedTuple):
    shared: psycopg.Connection
    embedded: psycopg.Connection


@pytest.fixture(scope="module")
def modes(cluster, shared_hub, model_directory) -> Iterator[Modes]:
    """A session in each mode, in one database."""
    make_bad_models(model_directory)
    with connected_to(shared_hub, cluster) as database:
        make_relations(database)
        database.run(TALKS)
        database.run("CREATE EXTENSION plpython3u")
        with database.connect() as shared, database.connect() as embedded:
            embedded.execute("LOAD 'pgml'")
            embedded.execute("SET pgml.runtime = 'embedded'")
            yield Modes(shared, embedded)


def in_both(modes: Modes, call: Callable[[psycopg.Connection], Any]) -> tuple[Any, Any]:
    return call(modes.shared), call(modes.embedded)


CHAT = """SELECT {function}('{{"task": "conversation", "model": "llama-chat"}}'::jsonb, '{args}',
                 inputs => ARRAY['{{"role": "user", "content": "Grüße ✓"}}']::jsonb[])"""
CALLS = {
    "text-classification": transform("bert-classifier"),
    "pairs": """SELECT pgml.transform('{"task": "text-classification", "model": "bert-nli"}'::jsonb,
                    inputs => ARRAY['{"text": "a", "text_pair": "b"}']::jsonb[])""",
    "token-classification": transform("bert-tokens", "token-classification"),
    "question-answering": """SELECT pgml.transform('{"task": "question-answering", "model": "bert-qa"}'::jsonb,
                    inputs => ARRAY['{"question": "who?", "context": "it was me"}']::jsonb[])""",
    "summarization": transform("t5", "summarization"),
    "feature-extraction": transform("all-MiniLM-L6-v2", "feature-extraction"),
    "nulls": """SELECT pgml.transform('{"model": "bert-classifier"}'::jsonb, inputs => ARRAY[NULL, 'x', NULL])""",
    "nothing": """SELECT pgml.transform('{"model": "bert-classifier"}'::jsonb, inputs => ARRAY[]::text[])""",
    "embed": "SELECT pgml.embed('all-MiniLM-L6-v2', ARRAY['a wonderful film', 'grüße ✓'])",
    "conversation": CHAT.format(function="pgml.transform", args='{"temperature": 0, "max_tokens": 12}'),
    "sampled": CHAT.format(function="pgml.transform", args='{"seed": 7, "n": 2, "max_tokens": 12}'),
    "choices": CHAT.format(function="pgml.transform", args='{"choices": ["yes", "no"], "details": true}'),
    "model of the Hub": transform(CLASSIFIER),
    "many rows": """SELECT pgml.transform('{"model": "bert-classifier"}'::jsonb, inputs => array_agg('text ' || i))
                    FROM generate_series(1, 500) AS i""",
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_of_models(modes, name):
    shared, embedded = in_both(modes, lambda session: session.execute(CALLS[name]).fetchall())
    assert shared == embedded
    assert shared


def test_streams(modes):
    query = CHAT.format(function="pgml.transform_stream", args='{"temperature": 0, "max_tokens": 12}')
    shared, embedded = in_both(modes, lambda s: "".join(row[0][0] for row in s.execute(query).fetchall()))
    assert shared == embedded
    assert shared


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on the clock."""
    return {name: value for name, value in values.items() if not name.endswith(TIMES)}


JOBS = {"classification": ("reviews", REVIEWS_JOB), "conversation with LoRA": ("talks", CONVERSATION_JOB)}


@pytest.mark.parametrize("name", JOBS)
def test_jobs_with_the_same_seed_give_the_same_bits(modes, name):
    project, arguments = JOBS[name]
    heard = in_both(modes, listen)
    shared = tune(modes.shared, f"{project} shared", **arguments)
    embedded = tune(modes.embedded, f"{project} embedded", **arguments)
    assert (shared.status, shared.deployed) == (embedded.status, embedded.deployed) == ("successful", True)
    assert plain(shared.metrics) == plain(embedded.metrics)
    look = modes.shared.execute
    assert look(FILES, [shared.model_id]).fetchall() == look(FILES, [embedded.model_id]).fetchall()
    logs = [[plain(row[0]) for row in look(LOGS, [job.model_id]).fetchall()] for job in (shared, embedded)]
    assert logs[0] == logs[1]
    told = [
        [text.partition(" left")[0].partition(" (")[0] for _, text in one if "runtime" not in text] for one in heard
    ]
    assert told[0] == told[1]
    query = "SELECT pgml.{function}(%s, 'What colour is number 3?')"
    function = "generate" if "LoRA" in name else "predict"
    for session in modes:
        answers = [
            session.execute(query.format(function=function), [f"{project} {m}"]).fetchone() for m in Modes._fields
        ]
        if function == "predict":
            assert answers[0] == answers[1]
        assert answers[0][0]


def test_data_sets(modes):
    def load(session: psycopg.Connection) -> Any:
        kwargs = f'{{"table": "imdb_{session.info.backend_pid}"}}'
        table, rows = session.execute("SELECT * FROM pgml.load_dataset('imdb', kwargs => %s)", [kwargs]).fetchone()
        return rows, session.execute(f"SELECT * FROM {table}").fetchall()

    shared, embedded = in_both(modes, load)
    assert shared == embedded
    assert shared[0] > 0


def said(session: psycopg.Connection, call: Callable[[psycopg.Connection], Any]) -> tuple[Any, ...]:
    with pytest.raises(psycopg.Error) as raised:
        call(session)
    diag = raised.value.diag
    return diag.sqlstate, diag.message_primary, diag.message_detail, diag.message_hint


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_of_tune(modes, case):
    arguments = {"project": "bad"} | REVIEWS_JOB | renamed(BAD[case].arguments)
    shared, embedded = in_both(modes, lambda session: said(session, lambda s: tune(s, **arguments)))
    assert shared == embedded


@pytest.mark.parametrize("query", [call[0] for call in BAD_CALLS])
def test_bad_input_of_the_other_functions(modes, query):
    shared, embedded = in_both(modes, lambda session: said(session, lambda s: refusal_raised(s, query)))
    assert shared == embedded


def refusal_raised(session: psycopg.Connection, query: str) -> None:
    session.execute(query)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM pgml.load_dataset('no/such-data-set')",
        "SELECT * FROM pgml.load_dataset('/etc/passwd')",
        transform("no/such-model"),
        "SELECT * FROM pgml.push_to_hub('no such project')",
        "SELECT * FROM pgml.pull_from_hub('no/such-model', 'pulled')",
        "SELECT pgml.embed('bert-qa-nothing', 'x')",
    ],
)
def test_errors_of_the_hub_and_of_files(modes, query):
    shared, embedded = in_both(modes, lambda session: refusal(session, query))
    for field in ("sqlstate", "message_primary", "message_detail", "message_hint"):
        assert getattr(shared, field) == getattr(embedded, field)


def test_a_training_that_fails(modes):
    broken = {"training_args": {"num_train_epochs": 4, "learning_rate": 1e30, "eval_strategy": "no"}}
    arguments = {**REVIEWS_JOB, "hyperparams": broken}
    shared, embedded = in_both(modes, lambda session: said(session, lambda s: tune_reviews(s, "broken", **arguments)))
    assert shared == embedded
    assert shared[0] == "22003"


def test_the_modes_were_two(modes):
    state = "SELECT state FROM pgml.runtime_status()"
    assert in_both(modes, lambda session: session.execute(state).fetchone()[0]) == ("ready", "embedded")
