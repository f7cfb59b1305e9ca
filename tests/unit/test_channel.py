"""The trainer's channel, in a process of its own, because it takes standard output and a signal."""

from __future__ import annotations

import io
import signal
import subprocess
import sys

from pgml.runtime.frames import read_frame


def run(script, **options):
    command = [sys.executable, "-c", f"from pgml.runtime.tuning.channel import StandardOutput\n{script}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def frames_of(data):
    stream, frames = io.BytesIO(data), []
    while (frame := read_frame(stream)) is not None:
        frames.append(frame)
    return frames


def test_what_is_printed_goes_to_standard_error():
    script = (
        "import os, subprocess\n"
        "channel = StandardOutput()\n"
        "print('from Python', flush=True)\n"
        "os.write(1, b'from C')\n"
        "subprocess.run(['echo', 'from a child'])\n"
        "channel.notice('after')"
    )
    output, errors = run(script).communicate(timeout=30)
    assert [header.get("message") for header, _ in frames_of(output)] == [None, "after"]
    assert b"from Python" in errors
    assert b"from C" in errors
    assert b"from a child" in errors


def test_progress_is_sent_once_a_second_at_most():
    script = "channel = StandardOutput()\nfor step in range(1000):\n    channel.progress(step, 1000)"
    output, _ = run(script).communicate(timeout=30)
    assert [header.get("step") for header, _ in frames_of(output)][1] == 0
    assert len(frames_of(output)) == 2


def test_a_signal_never_cuts_a_frame_in_two():
    script = "channel = StandardOutput()\nwhile True:\n    channel.send('file', bytes(3 << 20))"
    process = run(script)
    data = process.stdout.read(10 << 20)  # the pipe is full now, and a frame half written
    process.send_signal(signal.SIGTERM)
    frames = frames_of(data + process.stdout.read())
    _, errors = process.communicate(timeout=30)
    assert {len(payload) for header, payload in frames if header.get("event") == "file"} == {3 << 20}
    assert frames[-1][0]["error"]["sqlstate"] == "57014"
    assert (process.returncode, errors) == (1, b"")


def test_a_signal_ends_it_wherever_it_is_even_where_exceptions_are_lost():
    script = (
        "import os, signal\n"
        "channel = StandardOutput()\n"
        "class Swallows:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "Swallows()\n"
        "channel.notice('not reached')"
    )
    process = run(script)
    output, errors = process.communicate(timeout=30)
    assert [header.get("event") for header, _ in frames_of(output)] == [None, "error"]
    assert (process.returncode, errors) == (1, b"")
