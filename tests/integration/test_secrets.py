"""Tokens are used, and rest nowhere: no file, no table, no log, no message and no process shows one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from base64 import b64encode, urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from tests.cluster import Database, throwaway, wait_until
from tests.integration.hub_calls import ADAPTER, CHAT_BASE, CLASSIFIER, transform
from tests.integration.hub_database import cache_of, client_of, connected_to, copy_to_private, on_base
from tests.integration.jobs import REVIEWS, refusal, wait_for
from tests.integration.traces import files_with

MARKED = "zq7Marked+Token/of.no_known-shape=2026"
SHAPED = "hf_" + "ofTheShapeThatTokensOfTheHubHave"  # in two parts, so that nobody takes it for a real one
TOKENS = [MARKED, SHAPED]
REVOKED = "gone" + MARKED
WATERMARK = "/* this statement gives a token */"
PRIVATE, BASE, ON_BASE = "tester/secret-classifier", "tester/secret-base", "tester/secret-adapter"
ROWS = "tester/secret-rows"
FORBIDDEN, UNDEFINED, UNREACHABLE, LOST = "42501", "42704", "08006", "38000"
TRAINING = {"learning_rate": 0.01, "eval_strategy": "no", "logging_steps": 5}


@pytest.fixture(scope="module")
def keeping(model_directory, shared_hub):
    """A database of a cluster of its own, which logs all that it says, and a Hub with what only the tokens may read."""
    shared_hub.heal()
    for number, token in enumerate(TOKENS):
        shared_hub.add_token(token, name=f"secret {number}", user="tester")
    copy_to_private(shared_hub, CLASSIFIER, PRIVATE)
    copy_to_private(shared_hub, CHAT_BASE, BASE)
    copy_to_private(shared_hub, ADAPTER, ON_BASE, on_base(BASE))
    with client_of(shared_hub) as api:
        api.create_repo(ROWS, repo_type="dataset", private=True)
        api.upload_file(
            repo_id=ROWS, repo_type="dataset", path_in_repo="train.csv", path_or_fileobj=b"text,label\na film,good\n"
        )
    settings = {"shared_preload_libraries": "pgml", "log_min_messages": "info"}
    with throwaway(model_directory, **settings) as cluster, connected_to(shared_hub, cluster) as database:
        database.run(REVIEWS)
        yield database


def tune(project, model="bert", **training_args):
    """The statement, which gives a token to read with and one to push with."""
    told = {"push_to_hub": True, "hub_token": MARKED, **TRAINING, **training_args}
    hyperparams = json.dumps({"token": SHAPED, "training_args": told})
    return (
        f"SELECT * FROM pgml.tune('{project}', 'text-classification', 'reviews', 'verdict', '{model}', '{hyperparams}')"
        f" {WATERMARK}"
    )


class Session:
    """A session that remembers all that it was told."""

    def __init__(self, database: Database, user: str = "postgres") -> None:
        self.connection = database.connect(user)
        self.connection.add_notice_handler(lambda said: self.hear("notice", said))
        self.heard: list[tuple[str, str]] = []

    def hear(self, kind: str, said: psycopg.errors.Diagnostic) -> None:
        texts = (said.message_primary, said.message_detail, said.message_hint)
        self.heard.append((kind, " | ".join(text or "" for text in texts)))

    def works(self, query: str) -> None:
        self.connection.execute(query)

    def fails(self, sqlstate: str, query: str) -> None:
        said = refusal(self.connection, query)
        self.hear("error", said)
        assert said.sqlstate == sqlstate, said.message_primary


@pytest.fixture(scope="module")
def used(keeping, shared_hub):
    """A session in which the tokens were used in all ways, with luck and without."""
    session = Session(keeping)
    for token in TOKENS:
        session.works(f"SELECT pgml.load_dataset('{ROWS}', kwargs => '{{\"token\": \"{token}\"}}')")
        session.works(f'DROP TABLE pgml."{ROWS}"')
        session.works(transform(ON_BASE, "conversation", token=token))
        session.works(f"SELECT pgml.pull_from_hub('{PRIVATE}', 'pulled', token => '{token}')")
        session.works(f"SELECT pgml.push_to_hub('pulled', 'tester/secret-push', token => '{token}')")
        session.fails(FORBIDDEN, f"SELECT pgml.push_to_hub('pulled', 'other/x', token => '{token}') {WATERMARK}")
        session.fails(
            UNDEFINED, f"DO $$ BEGIN EXECUTE $_${transform('tester/none', token=token)}$_$; END $$ {WATERMARK}"
        )
    session.fails(FORBIDDEN, f"{transform(PRIVATE, token=REVOKED)} {WATERMARK}")
    session.works(tune("tuned", hub_model_id="tester/secret-tuned", hub_strategy="end", max_steps=10))
    session.fails(FORBIDDEN, tune("foreign", hub_model_id="somebody/else"))
    session.works("SET pgml.hub_deny = 'distilbert/*'")
    session.fails(FORBIDDEN, tune("denied", "distilbert-base-uncased"))
    session.works("RESET pgml.hub_deny")
    with shared_hub.down():
        session.fails(UNREACHABLE, tune("unreachable"))
    yield session
    session.connection.close()


@pytest.fixture(scope="module")
def killed(keeping, shared_hub, used):
    """What the processes of a job that was pushing showed of themselves, before it was killed."""
    shared_hub.disturb(path="secret-killed/(preupload|commit)", delay=60, times=None)
    query = tune("killed", hub_model_id="tester/secret-killed", max_steps=5000, save_strategy="steps", save_steps=20)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(used.fails, LOST, query)
        asked = lambda: [one for one in shared_hub.requests if "secret-killed/" in one.path]  # noqa: E731
        wait_until(asked, "the push of a checkpoint", 60)
        shown = [text for pid, _ in keeping.cluster.processes() for text in shown_by(pid)]
        activity = keeping.run(
            "SELECT query, application_name FROM pg_stat_activity WHERE backend_type <> 'client backend'"
        )
        (trainer,) = keeping.cluster.python_processes("pgml.runtime.train")
        os.kill(trainer, signal.SIGKILL)
        running.result(20)
    shared_hub.heal()
    job = wait_for(keeping, keeping.value("SELECT max(id) FROM pgml.models"), "failed")
    assert job.resumable  # so its directory is there
    return shown + [text for row in activity for text in row]


def shown_by(pid):
    """What every program of the same user can see of a process, if it still runs."""
    with contextlib.suppress(OSError):
        return [Path(f"/proc/{pid}/{name}").read_text(errors="replace") for name in ("cmdline", "environ")]
    return []


def test_no_process_shows_a_token(killed):
    assert any("pgml.runtime.hub.errand" in text for text in killed)
    assert not [text for text in killed if any(token in text for token in TOKENS)]


def test_nothing_that_is_said_holds_a_token(used, killed):
    assert len([text for kind, text in used.heard if kind == "error"]) >= 7
    assert not [text for _, text in used.heard if any(token in text for token in (*TOKENS, REVOKED))]


def test_the_hint_at_secrets_comes_once_a_session(used):
    assert len([text for kind, text in used.heard if kind == "notice" and "pgml.set_secret" in text]) == 1


def test_no_table_holds_a_token(keeping, killed):
    for name in ("projects", "snapshots", "models", "logs", "files", "jobs", "overview"):
        rows = keeping.run(f"SELECT x::text FROM pgml.{name} x")
        assert rows
        assert not [text for (text,) in rows if any(token in text for token in TOKENS)], name
    data = keeping.run("SELECT data FROM pgml.files")
    assert not [part for (part,) in data if any(token.encode() in part for token in TOKENS)]


@pytest.mark.parametrize("before", ["", "a", "ab"])
def test_the_search_finds_what_is_written_in_another_way(tmp_path, before):
    text = f"{before}{MARKED}, and so on".encode()
    for number, written in enumerate((text, b64encode(text), urlsafe_b64encode(text), quote(text).encode())):
        (tmp_path / str(number)).write_bytes(b"token: " + written)
    assert len(files_with([MARKED], tmp_path)) == 4
    assert not files_with([SHAPED], tmp_path)


def test_no_file_holds_a_token(keeping, shared_hub, used, killed):
    keeping.run("CREATE TABLE control AS SELECT 'Zebra' || 'crossing-2026' AS word; CHECKPOINT")
    data = keeping.cluster.data
    found = files_with(["Zebracrossing-2026"], data)
    assert {path.relative_to(data).parts[0] for path in found} == {"base", "pg_wal"}  # the search finds what is there
    assert list((data / "pgml/jobs").glob("*/*/output/checkpoint-*"))
    assert cache_of(keeping).is_relative_to(keeping.cluster.root)
    assert files_with([*TOKENS, REVOKED], keeping.cluster.root, shared_hub.directory) == []


def test_the_server_log_leaves_out_statements_that_give_a_token_and_no_others(keeping, used, killed):
    with keeping.connect() as connection:
        refusal(connection, "SELECT 1 / 0 /* and this one does not */")
    assert "/* and this one does not */" in keeping.cluster.log_text()
    assert WATERMARK not in keeping.cluster.log_text()
