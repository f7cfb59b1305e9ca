"""Connections of the client in programs that fork, and in those that run many event loops."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref

from tests.integration.sdk import url_of

from pgml.connections import Connections

FORKING = """
import os, sys
from pgml.queries import query
url = sys.argv[1]
ask = lambda: query(url, "SELECT pg_backend_pid() AS pid")[0]["pid"]
before = ask()
child = os.fork()
if not child:
    print("child", ask() != before, ask() != before, flush=True)
    sys.exit(0)  # as multiprocessing ends its workers: with all that runs at the end of a program
assert os.waitpid(child, 0)[1] == 0
print("parent", ask() == before)
"""


def test_a_forked_process_has_its_own(shared):
    command = [sys.executable, "-W", "error", "-c", FORKING, url_of(shared)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.split("\n")[:2], done.stderr) == (["child True True", "parent True"], "")


def test_event_loops_that_have_ended_are_freed(shared):
    connections, loops = Connections(url_of(shared)), []

    async def ask() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        async with connections.async_connection() as connection:
            await connection.execute("SELECT 1")

    for _ in range(3):
        asyncio.run(ask())
    gc.collect()
    assert [loop() for loop in loops] == [None] * 3
    connections.close()
