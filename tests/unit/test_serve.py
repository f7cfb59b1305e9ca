"""The server process: how it starts, who may connect and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import time

import pytest
from serving import Backend, directory_model

from pgml import __version__

PYTHON_PATH = os.pathsep.join(path for path in sys.path if path)


@pytest.fixture
def start(tmp_path):
    """Start a server process; the socket is `runtime.sock` in its working directory."""
    processes = []

    def starter(python_path=PYTHON_PATH):
        command = [sys.executable, "-m", "pgml.runtime.serve", "--socket", "runtime.sock", "--cache", "cache"]
        environment = {**os.environ, "PYTHONPATH": python_path}
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield starter
    for process in processes:
        process.kill()
        process.communicate()


def connect(path):
    """Connect as soon as somebody listens."""
    deadline = time.monotonic() + 30
    while True:
        try:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(60)
            sock.connect(str(path))
        except OSError:
            sock.close()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        else:
            return sock


def test_the_life_of_a_server(start, tmp_path, tiny_model):
    path = tmp_path / "runtime.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    process = start()
    backend = Backend(connect(path))
    assert backend.hello["pid"] == process.pid
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cache", "runtime.sock"]

    assert len(backend.transform(directory_model(tiny_model("bert-classifier")), ["film"])) == 1
    other = Backend(connect(path))
    other.stream.write(struct.pack("<II", 1 << 30, 0))
    assert other.socket.recv(1) == b""  # what comes after a frame that is no frame cannot be read
    other.close()
    backend.send({"op": "status"})
    assert backend.read()[0]["status"]["pid"] == process.pid

    start_of_end = time.monotonic()
    process.terminate()
    _, log = process.communicate(timeout=10)
    assert time.monotonic() - start_of_end < 2
    assert process.returncode == 0
    assert not path.exists()
    lines = [json.loads(line) for line in log.splitlines()]
    assert {"level": "INFO", "message": f"runtime {__version__} is ready"} in lines
    assert any("too large" in line["message"] for line in lines)
    backend.close()


def test_clients_can_connect_and_wait_while_torch_is_imported(start, tmp_path):
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "torch.py").write_text("import time; time.sleep(60)")
    process = start(f"{slow}{os.pathsep}{PYTHON_PATH}")
    with contextlib.closing(connect(tmp_path / "runtime.sock")) as sock:
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.recv(1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 0
    assert not (tmp_path / "runtime.sock").exists()


def test_a_missing_package_is_named_with_the_command_that_installs_it(start, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "transformers.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'transformers'\", name='transformers')"
    )
    process = start(f"{broken}{os.pathsep}{PYTHON_PATH}")
    _, log = process.communicate(timeout=60)
    assert process.returncode == 3
    line = json.loads(log.splitlines()[-1])
    assert line["level"] == "ERROR"
    assert '"transformers"' in line["message"]
    assert sys.executable in line["message"]
    assert line["hint"].endswith(f"make install VENV={sys.prefix}")
    assert not (tmp_path / "runtime.sock").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_other_users_are_turned_away(start, tmp_path):
    process = start()
    path = tmp_path / "runtime.sock"
    Backend(connect(path)).close()
    for directory in (path, tmp_path, *tmp_path.parents[:3]):
        directory.chmod(0o777)
    script = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(path)!r}); print(s.recv(1))"
    done = subprocess.run([sys.executable, "-c", script], user=65534, capture_output=True, text=True, check=False)
    assert done.stdout == "b''\n", done.stderr
    process.terminate()
    _, log = process.communicate(timeout=10)
    assert "refused a connection from user id 65534" in log
