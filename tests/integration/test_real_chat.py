"""A real chat model learns who it is: SmolLM2-135M-Instruct with LoRA on 73 rows, asked through SQL and the client."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg.types.json import Jsonb
from tests.integration.sdk import url_of

import pgml

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "identity"
NAME = "Elly"
QUESTION = [{"role": "user", "content": "Who are you?"}]
GREEDY = {"temperature": 0, "max_tokens": 40}


@pytest.fixture
def identity(database):
    """The example's rows."""
    database.run_script(EXAMPLE / "load.sql", ROOT)
    return database


@pytest.mark.timeout(900)  # two minutes on a quiet machine: real weights, as the demo trains them
def test_a_real_chat_model_learns_its_name(identity):
    with identity.connect() as connection:
        status, deployed, *_ = connection.execute((EXAMPLE / "tune.sql").read_text()).fetchone()
    assert (status, deployed) == ("successful", True)

    generate = "SELECT pgml.generate('elly', 'Who are you?', %s)"
    answer = identity.value(generate, Jsonb(GREEDY))
    assert NAME in answer
    base = {"task": "conversation", "model": "SmolLM2-135M-Instruct"}
    before = identity.value("SELECT pgml.transform(%s, %s, ARRAY['Who are you?'])", Jsonb(base), Jsonb(GREEDY))
    assert NAME not in before[0]

    with pgml.OpenSourceAI(url_of(identity)) as client:
        reply = client.chat_completions_create("elly", QUESTION, **GREEDY)
        chunks = list(client.chat_completions_create_stream("elly", QUESTION, **GREEDY))
        asked_before = client.chat_completions_create("SmolLM2-135M-Instruct", QUESTION, **GREEDY)
    assert reply["choices"][0]["message"]["content"] == answer
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == answer
    assert NAME not in asked_before["choices"][0]["message"]["content"]

    # What was learned is small, and what was there is not stored again.
    files = dict(identity.run("SELECT path, size FROM pgml.files WHERE part = 0"))
    assert sum(files.values()) <= 1.1 * files["adapter_model.safetensors"]
    sample = identity.value(
        "SELECT logs->'eval_samples'->0 FROM pgml.logs WHERE logs ? 'eval_samples' ORDER BY id DESC LIMIT 1"
    )
    assert sample.keys() >= {"prompt", "wanted", "answer"}
