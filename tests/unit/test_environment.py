"""What is set before the libraries are imported."""

from __future__ import annotations

import os

import pytest

from pgml.runtime.environment import prepare_environment, share_processors


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """An environment of the test's own."""
    own = {"PATH": os.environ["PATH"]}
    monkeypatch.setattr(os, "environ", own)
    return own


def test_the_network_is_out_of_reach_whatever_the_server_s_environment_says(environment):
    environment["HF_HUB_OFFLINE"] = "0"
    prepare_environment("/data/huggingface")
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["HF_HOME"] == "/data/huggingface"


def test_the_administrator_s_hub_home_stays(environment):
    environment["HF_HOME"] = "/srv/hub"
    prepare_environment("/data/huggingface")
    assert environment["HF_HOME"] == "/srv/hub"


def test_waiting_threads_sleep_unless_the_administrator_chose(environment):
    share_processors()
    assert environment.pop("GOMP_SPINCOUNT") == "2000"
    environment["OMP_WAIT_POLICY"] = "ACTIVE"
    share_processors()
    assert "GOMP_SPINCOUNT" not in environment
