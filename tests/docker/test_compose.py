"""compose.yaml: its services, and the demo that tunes and predicts as a client of the database."""

from __future__ import annotations

import os
import subprocess

import pytest
import yaml
from tests.cluster import wait_until
from tests.docker.containers import PASSWORD, ROOT, START, docker, free_port, unused_name

PROFILES = ("--profile", "gpu", "--profile", "demo")


@pytest.fixture(scope="module")
def compose(model_directory):
    """Run compose in a project of its own; what it printed."""
    environment = os.environ | {
        "POSTGRES_PASSWORD": PASSWORD,
        "PGML_PORT": str(free_port()),
        "PGML_MODELS": str(model_directory),
        "COMPOSE_PROJECT_NAME": unused_name(),
    }

    def run(*arguments):
        command = [ROOT / "tools" / "compose", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield run
    run("down", "--volumes")


def test_its_services_have_what_they_need(compose):
    services = yaml.safe_load(compose(*PROFILES, "config"))["services"]
    assert set(services) == {"db", "gpu", "demo"}
    for name, torch in (("db", "cpu"), ("gpu", "cuda")):
        service = services[name]
        assert service["image"] == f"pgml:{torch}"
        assert torch in str(service["build"]["args"])
        assert service["mem_limit"]
        assert service["shm_size"]
    (device,) = services["gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"


@pytest.fixture(scope="module")
def demo(compose):
    """Run an example as the service demo does; what it printed."""
    compose("up", "--detach", "db")
    name = compose("ps", "--quiet").split()[0]
    healthy = lambda: docker("exec", name, "healthcheck", check=False).returncode == 0  # noqa: E731 short
    wait_until(healthy, "db to be healthy", START)
    return lambda example: compose("--profile", "demo", "run", "--rm", "demo", "demo", example)


@pytest.mark.timeout(900)  # the whole example: a minute and a half where nothing else runs
def test_the_demo_tunes_and_predicts(demo):
    said = demo("made_with_ml")
    assert "successful" in said
    assert " rows | right | accuracy" in said


@pytest.mark.timeout(900)  # likewise
def test_the_demo_tunes_and_chats(demo):
    said = demo("identity")
    assert "successful" in said
    (answers,) = [line.split("|") for line in said.splitlines() if line.strip().startswith("Who are you?")]
    _, before, after = answers
    assert "Elly" not in before
    assert "Elly" in after
