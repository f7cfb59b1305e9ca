"""How the Hub is asked: how long an answer is waited for, and when it is asked again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import httpx2
from huggingface_hub import set_client_factory
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._http import default_client_factory

from pgml.runtime.hub.errors import is_out_of_reach

T = TypeVar("T")
TIMEOUT = httpx2.Timeout(120, connect=10)
"""Seconds. A commit of many files takes the Hub a while."""
SECONDS_FOR_A_LOOK = 10.0
"""For what HfApi tells of a repository, which has no limit unless it is given one."""
PAUSES = (1.0, 3.0)
LONGEST_PAUSE = 10.0


def wait_within_reason() -> None:
    """From now on no request of this process waits for ever for a Hub that says nothing."""
    set_client_factory(_client)


def patiently(ask: Callable[[], T]) -> T:
    """Ask again after a moment where the Hub stumbles; one that is not there is not waited for."""
    for pause in PAUSES:
        try:
            return ask()
        except (httpx2.ConnectError, httpx2.TimeoutException):
            raise
        except (HfHubHTTPError, httpx2.TransportError) as error:
            if not is_out_of_reach(error):
                raise
            time.sleep(_pause(error, pause))
    return ask()


def _client() -> httpx2.Client:
    """The library's own, which has no such limit."""
    client = default_client_factory()
    client.timeout = TIMEOUT
    return client


def _pause(error: Exception, pause: float) -> float:
    """How long to wait: as the Hub says, if it does, within reason."""
    seconds = error.response.headers.get("Retry-After", "") if isinstance(error, HfHubHTTPError) else ""
    return min(float(seconds), LONGEST_PAUSE) if seconds.isdigit() else pause
