"""The command `pgml` as a process: chats, jobs, logs, and what the doctor finds."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest
from tests.cluster import Database, throwaway, wait_until
from tests.integration.jobs import LONG, QUICK, REVIEWS, REVIEWS_JOB, tune, wait_for
from tests.integration.sdk import MODEL, TALKER, url_of, wait_until_idle

COMMAND = [sys.executable, "-m", "pgml.cli"]
BRIEF = ["--max-tokens", "8", "--temperature", "0"]


def environment(database: Database) -> dict[str, str]:
    return os.environ | {"PGML_DATABASE_URL": url_of(database), "TERM": "dumb", "PYTHONUNBUFFERED": "1"}


def run(database: Database, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        check=False,
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(database),
    )


def said(database: Database, given: str, *options: str) -> str:
    """What a chat answers to these lines."""
    done = run(database, "chat", MODEL, *BRIEF, *options, given=given)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@contextmanager
def started(database: Database, *arguments: str, **options):
    with subprocess.Popen([*COMMAND, *arguments], env=environment(database), text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


class Terminal:
    """A person at a terminal: types, reads, presses Ctrl-C."""

    def __init__(self, database: Database, *arguments: str) -> None:
        self.pid, self.descriptor = pty.fork()
        if not self.pid:
            os.execve(COMMAND[0], [*COMMAND, *arguments], environment(database))
        os.set_blocking(self.descriptor, False)
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def read_until(self, text: str) -> str:
        """What was shown since the last time, up to this text."""

        def found() -> bool:
            with suppress(BlockingIOError, OSError):  # nothing there, or the program is over
                self.shown += os.read(self.descriptor, 65536).decode(errors="replace")
            return text in self.shown

        try:
            wait_until(found, repr(text))
        except TimeoutError as error:
            raise AssertionError(f"{error}; the terminal shows {self.shown!r}") from None
        before, _, self.shown = self.shown.partition(text)
        return before

    def end(self) -> int:
        """Wait for the program; its exit status."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@contextmanager
def terminal(database: Database, *arguments: str):
    terminal = Terminal(database, *arguments)
    try:
        yield terminal
    finally:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(terminal.pid, signal.SIGKILL)
            os.waitpid(terminal.pid, 0)
        os.close(terminal.descriptor)


@pytest.fixture(scope="module")
def tuned(shared):
    """The model id of a small finished job."""
    shared.run(REVIEWS)
    with shared.connect() as connection:
        return tune(connection, "reviews", **REVIEWS_JOB | {"hyperparams": QUICK}).model_id


@pytest.fixture
def long_job(shared, tuned):
    with shared.connect() as connection:
        model_id = tune(connection, "long", **REVIEWS_JOB | {"hyperparams": LONG}, wait=False).model_id
    wait_for(shared, model_id, "in_progress")
    yield model_id
    shared.run("SELECT pgml.cancel(%s)", model_id)


def test_questions_from_a_file(shared):
    once = said(shared, "Who are you?\n")
    assert said(shared, "Who are you?\n\n/clear\nWho are you?") == once * 2  # a cleared conversation starts anew
    assert said(shared, "Who are you?\nWho are you?\n") != once * 2  # what was said before counts


def test_a_system_message_counts(shared):
    plain = said(shared, "Who are you?")
    told = said(shared, "Who are you?", "--system", "You are a pirate.")
    commanded = said(shared, "/system You are a pirate.\nWho are you?")
    assert told == commanded != plain


def test_a_model_that_does_not_exist_is_one_line(shared):
    done = run(shared, "chat", "no-such-model", given="Who are you?\n")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("pgml: ")
    assert "no-such-model" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_chat_in_a_terminal(shared):
    with terminal(shared, "chat", TALKER, "--max-tokens", "500000") as person:
        person.read_until("> ")
        person.type("/help\n")
        assert "/system" in person.read_until("> ")
        person.type("Who are you?\n")
        person.read_until("Who are you?\r\n")
        wait_until(lambda: os.read(person.descriptor, 1) if _readable(person) else b"", "the first piece")
        person.type("\x03")
        person.read_until("[stopped]")
        wait_until_idle(shared, 1)
        person.read_until("> ")
        person.type("half a question\x03")
        person.read_until("> ")
        person.type("\x04")
        assert person.end() == 0


def _readable(person: Terminal) -> bool:
    import select  # noqa: PLC0415

    return bool(select.select([person.descriptor], [], [], 0)[0])


def test_an_error_does_not_end_a_chat_in_a_terminal(shared):
    with terminal(shared, "chat", "no-such-model") as person:
        person.read_until("> ")
        person.type("Who are you?\n")
        assert "no-such-model" in person.read_until("> ")
        person.type("\x04")
        assert person.end() == 0


def test_jobs(shared, tuned):
    done = run(shared, "jobs")
    head, *rows = [line.split("\t") for line in done.stdout.splitlines()]
    (row,) = [dict(zip(head, row, strict=True)) for row in rows if row[0] == str(tuned)]
    assert (row["project"], row["status"], row["steps"]) == ("reviews", "successful", "16/16")
    assert len(run(shared, "jobs", "-n", "1").stdout.splitlines()) == 2


def test_logs_of_a_finished_job(shared, tuned):
    for arguments in ([], ["-f"]):
        done = run(shared, "logs", *arguments, str(tuned))
        assert done.returncode == 0, done.stderr
        assert "loss " in done.stdout
        assert done.stdout.count("\n") == shared.value("SELECT count(*) FROM pgml.logs WHERE model_id = %s", tuned)


def test_logs_of_a_job_that_does_not_exist(shared, tuned):
    done = run(shared, "logs", "999999")
    assert (done.returncode, done.stderr) == (1, "pgml: model 999999 does not exist\n")


def test_following_a_job(shared, long_job):
    follow = ["logs", "-f", str(long_job)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started(shared, *follow, **pipes) as left, started(shared, *follow, **pipes) as full:
        left.stdout.readline()
        left.send_signal(signal.SIGINT)
        full.stdout.readline()
        full.stdout.close()  # as head does when it has enough
        assert left.wait(10) == 130
        assert full.wait(30) == 1
        assert (left.stderr.read(), full.stderr.read()) == ("", "")
    assert shared.value("SELECT status FROM pgml.jobs WHERE model_id = %s", long_job) == "in_progress"
    with started(shared, *follow, **pipes) as process:
        assert "loss " in process.stdout.readline()
        shared.run("SELECT pgml.cancel(%s)", long_job)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 1
        assert said.startswith("cancelled: ")


def test_the_doctor_finds_a_healthy_server(shared, tuned):
    done = run(shared, "doctor")
    assert done.returncode == 0, done.stdout
    for what in ("connection", "server", "extension", "pgml.python", "packages", "device", "pgml.model_directories"):
        assert f"ok       {what}: " in done.stdout, done.stdout
    assert "warning  shared_preload_libraries: " in done.stdout
    assert "to mend: Add pgml to shared_preload_libraries" in done.stdout


def test_the_doctor_as_an_ordinary_user(shared, tuned):
    shared.run("CREATE ROLE patient LOGIN")
    done = subprocess.run(
        [*COMMAND, "doctor", "--database-url", url_of(shared, "patient")], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "problem" not in done.stdout


def test_the_doctor_misses_the_extension(cluster):
    done = run(Database(cluster, "postgres"), "doctor")
    assert done.returncode == 1
    assert "problem  extension: " in done.stdout
    assert "to mend: CREATE EXTENSION pgml;" in done.stdout


def test_the_doctor_finds_a_broken_interpreter_and_a_missing_directory():
    settings = {"pgml.python": "/nonexistent/python", "pgml.model_directories": "/nonexistent/models"}
    with throwaway(shared_preload_libraries="pgml", **settings) as cluster:
        database = Database(cluster, "postgres")
        database.run("CREATE EXTENSION pgml")
        done = wait_until(lambda: _diagnosed(database, "does not run"), "the supervisor to try")
    assert done.returncode == 1
    assert "problem  pgml.python: /nonexistent/python does not run: " in done.stdout
    assert "problem  pgml.model_directories: cannot be read: /nonexistent/models" in done.stdout
    assert "ok       shared_preload_libraries: " in done.stdout


def _diagnosed(database: Database, text: str) -> subprocess.CompletedProcess[str] | None:
    done = run(database, "doctor")
    if text in done.stdout:
        return done
    time.sleep(0.2)
    return None
