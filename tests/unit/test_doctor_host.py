"""What the doctor says of the machine: systemd's answer to a lack of memory, and the packages beside it."""

from __future__ import annotations

import os
import sys
from importlib import metadata

import pytest

from pgml.doctor_host import cgroup_of, installed_packages, out_of_memory, runtime_pins

IN_SLICE = "0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n"
MIXED = "1:name=systemd:/system.slice/postgresql@16-a.service\n0::/\n"


@pytest.fixture
def systemctl(tmp_path, monkeypatch):
    """A systemctl that answers what a file says."""
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/asked; cat {tmp_path}/answer\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


@pytest.mark.parametrize(
    ("cgroup", "service"), [(IN_SLICE, "postgresql@15-main.service"), (MIXED, "postgresql@16-a.service")]
)
def test_a_service_that_stops_for_one_process_is_a_warning(systemctl, cgroup, service):
    (systemctl / "answer").write_text("stop\n")
    finding = out_of_memory(cgroup)
    what = f"out of memory: a trainer that is killed takes {service} along (OOMPolicy=stop)"
    assert (finding.state, finding.what) == ("warning", what)
    assert "OOMPolicy=continue" in finding.mend
    assert (systemctl / "asked").read_text() == f"show --property=OOMPolicy --value {service}\n"


def test_a_service_that_goes_on_is_fine(systemctl):
    (systemctl / "answer").write_text("continue\n")
    assert out_of_memory(IN_SLICE).state == "ok"


def test_nothing_is_said_where_systemd_does_not_run_the_server(systemctl, monkeypatch):
    (systemctl / "answer").write_text("\n")
    assert out_of_memory(IN_SLICE) is None
    assert out_of_memory("0::/user.slice/session.scope\n") is None
    assert out_of_memory(cgroup_of(2**22 + 1)) is None
    monkeypatch.setenv("PATH", "/nonexistent")
    assert out_of_memory(IN_SLICE) is None


def test_packages_of_this_environment_are_compared_with_what_is_pinned():
    packages = installed_packages(f"{sys.prefix}/bin/python")
    assert packages.keys() == runtime_pins().keys()
    assert packages["transformers"] == metadata.version("transformers")
    assert installed_packages("/opt/another/bin/python") is None
