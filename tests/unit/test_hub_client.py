"""How the Hub is asked by the libraries that do it."""

from __future__ import annotations

import httpx2
import pytest
from huggingface_hub import HfApi, close_session, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from pgml.runtime.hub import client


@pytest.fixture
def limited(monkeypatch):
    monkeypatch.setattr(client, "TIMEOUT", httpx2.Timeout(0.5))
    client.wait_within_reason()
    yield
    set_client_factory(default_client_factory)
    close_session()


@pytest.mark.usefixtures("limited")
def test_a_hub_that_says_nothing_is_not_waited_for(hub):
    hub.disturb(path="/api/whoami", delay=5)
    with pytest.raises(httpx2.TimeoutException):
        HfApi(endpoint=hub.endpoint, token="hf_reader").whoami()
