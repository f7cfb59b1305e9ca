"""Errands: processes for work with the Hub, which end when nobody waits, and in which no token rests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hub_requests import hub_object

from pgml.runtime.errors import Cancelled, RuntimeFault
from pgml.runtime.hub.errands import Errand, Errands
from pgml.runtime.hub.settings import HubSettings

MODEL = "distilbert/distilbert-base-uncased"
TOKEN = "correct horse battery/staple"


@pytest.fixture
def errands():
    errands = Errands()
    yield errands
    errands.close()


@pytest.fixture
def request_(hub, tmp_path):
    """A request for a model; the Hub does not answer it for a while."""
    return {"op": "model", "repo": MODEL, "revision": None, "hub": hub_object(hub, tmp_path / "cache")}


def children(of=None):
    """Process ids of the errands that a process started."""
    pids = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            command = (stat.parent / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if parent == (of or os.getpid()) and b"pgml.runtime.hub.errand" in command:
            pids.append(int(stat.parent.name))
    return pids


def wait_for(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return found


def fault_of(frames):
    with pytest.raises(RuntimeFault) as caught:
        list(frames)
    return caught.value


def is_gone(pid):
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def is_idle(pid):
    """Whether it has done something and does nothing now."""

    def seconds():
        return sum(int(word) for word in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])

    before = seconds()
    time.sleep(0.3)
    return seconds() == before > 0


def is_working(pid):
    """Whether an errand has a connection to the Hub."""
    try:
        return any("socket:" in str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:
        return False


def test_an_errand_answers_and_another_stands_by(errands, request_):
    *notices, (last, payload) = errands.run(request_)
    assert last["ok"]
    assert payload == b""
    assert any("notice" in header for header, _ in notices)
    (standby,) = wait_for(children)
    *_, (last, _) = errands.run(request_)
    assert last["ok"]
    assert is_gone(standby)  # it did the second one


def test_one_that_stands_by_answers_at_once(errands, request_):
    def seconds():
        start = time.monotonic()
        assert fault_of(errands.run({**request_, "op": "nothing"})).message == 'unknown errand "nothing"'
        return time.monotonic() - start

    seconds()
    for _ in range(10):  # others may keep the machine busy
        (pid,) = wait_for(children)
        wait_for(lambda pid=pid: is_idle(pid), 30)
        if seconds() < 0.05:  # 5 ms as a rule
            return
    pytest.fail("it takes long")


def test_one_that_stands_by_for_another_hub_is_not_taken(errands, request_):
    list(errands.run(request_))
    (standby,) = wait_for(children)
    other = {**request_, "hub": {**request_["hub"], "offline": True}}
    *_, (last, _) = errands.run(other)
    assert last["ok"]
    wait_for(lambda: is_gone(standby))
    assert len(wait_for(children)) == 1


def test_one_that_died_while_it_stood_by_is_replaced(errands, request_):
    list(errands.run(request_))
    (standby,) = wait_for(children)
    os.kill(standby, signal.SIGKILL)
    wait_for(lambda: is_gone(standby))
    *_, (last, _) = errands.run(request_)
    assert last["ok"]


def test_one_that_stands_by_outlives_the_thread_that_asked(errands, request_):
    thread = threading.Thread(target=lambda: list(errands.run(request_)))
    thread.start()
    thread.join()
    (standby,) = wait_for(children)
    time.sleep(0.5)
    assert not is_gone(standby)


def test_one_that_stands_by_too_long_is_ended(errands, request_, monkeypatch):
    monkeypatch.setattr("pgml.runtime.hub.errands.SECONDS_OF_STANDBY", 0.3)
    list(errands.run(request_))
    wait_for(children)
    wait_for(lambda: not children())


def test_a_cancel_kills_the_errand(errands, hub, request_):
    hub.disturb(path="/api/models/", delay=20)
    cancelled = threading.Event()
    threading.Timer(1, cancelled.set).start()
    start = time.monotonic()
    with pytest.raises(Cancelled):
        list(errands.run(request_, cancelled=cancelled.is_set))
    assert 1 <= time.monotonic() - start < 1.5


def test_who_stops_reading_ends_the_errand(errands, hub, request_):
    hub.disturb(path="model.safetensors", method="GET", delay=20)
    frames = errands.run(request_)
    assert "notice" in next(frames)[0]
    (pid,) = children()
    frames.close()
    assert is_gone(pid)


def test_an_errand_that_is_killed_is_a_fault(hub, request_):
    hub.disturb(path="/api/models/", delay=20)
    with Errand.start(request_["hub"], request_) as errand:
        (pid,) = wait_for(children)
        threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
        fault = fault_of(errand.frames())
    assert (fault.sqlstate, fault.detail) == ("53200", "It was ended by signal 9.")


SERVER = """
import contextlib, json, sys, threading
from pgml.runtime.errors import RuntimeFault
from pgml.runtime.hub.errands import Errands
request = json.loads(sys.stdin.readline())
errands = Errands()
with contextlib.suppress(RuntimeFault):
    list(errands.run({**request, "op": "nothing"}))  # after which one stands by
request["hub"]["offline"] = False
threading.Thread(target=lambda: list(errands.run(request))).start()
"""


def test_errands_end_with_the_process_that_started_them(hub, request_):
    hub.disturb(path="/api/models/", delay=20)
    request_["hub"]["offline"] = True  # so that the one that stands by is not taken
    with subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE) as server:
        server.stdin.write(json.dumps(request_).encode() + b"\n")
        server.stdin.flush()
        pid = wait_for(lambda: [pid for pid in children(server.pid) if is_working(pid)])[0]
        server.kill()
        wait_for(lambda: is_gone(pid), 5)
        assert all(is_gone(other) for other in children(server.pid))


def test_one_that_stands_by_ends_with_the_process_that_started_it(request_):
    script = SERVER.rpartition("request[")[0] + "print(errands._starter.submit(str).result(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        server.stdin.write(json.dumps(request_).encode() + b"\n")
        server.stdin.flush()
        server.stdout.readline()
        (pid,) = wait_for(lambda: children(server.pid))
        server.kill()
        wait_for(lambda: is_gone(pid), 5)


def test_no_token_is_in_the_environment_or_the_arguments(hub, request_, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", TOKEN)
    hub.disturb(path="/api/models/", delay=5)
    with Errand.start({**request_["hub"], "push_token": TOKEN}, request_):
        (pid,) = wait_for(children)
        seen = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
    assert b"HF_HUB_DISABLE_IMPLICIT_TOKEN=1" in seen
    assert b"horse" not in seen


def test_the_token_of_the_environment_serves_where_there_is_no_other(monkeypatch, tmp_path):
    hub = {"role": "10", "cache": str(tmp_path)}
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    settings = HubSettings.from_request(hub)
    assert (settings.token, settings.push_token) == (TOKEN, TOKEN)
    assert HubSettings.from_request({**hub, "token": "mine"}).token == "mine"
    assert HubSettings.from_request({**hub, "push_token": "mine"}).push_token == "mine"
    assert "horse" not in repr(settings)
    assert HubSettings.from_request(settings.as_request()) == settings


@pytest.mark.parametrize("hub", [None, [], {}, {"role": "../x"}, {"role": ""}])
def test_a_malformed_hub_is_refused(hub):
    with pytest.raises(RuntimeFault, match="malformed"):
        HubSettings.from_request(hub)


def test_a_cache_that_cannot_be_made_is_told(request_):
    fault = fault_of(Errand.start({**request_["hub"], "cache": "/dev/null/hub"}, request_) for _ in [1])
    assert (fault.sqlstate, fault.message) == (
        "58030",
        'could not create directory "/dev/null/hub" for files of the Hub',
    )


def test_a_token_is_in_no_message_and_in_no_log(hub, request_, capfd):
    hub.add_token(TOKEN, name="marked", user="tester")
    hub.fail(403, "/api/models/", message=f"token {TOKEN} may not", times=None)
    with Errand.start({**request_["hub"], "token": TOKEN}, request_) as errand:
        fault = fault_of(errand.frames())
    assert fault.sqlstate == "42501"
    assert fault.detail == "The Hub answered 403: token [redacted] may not."
    assert "horse" not in str(fault.as_frame()) + capfd.readouterr().err
    assert {one.token for one in hub.requests} == {None, "marked"}
