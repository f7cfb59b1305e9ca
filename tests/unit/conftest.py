"""Tiny models, made once a session by the script in tests/assets, and backends that ask for them."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import threading
from pathlib import Path

import pytest
from serving import Backend

from pgml.runtime import serve

ASSETS = Path(__file__).parents[1] / "assets"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """The directory of a tiny model by its name; tests only read it."""
    spec = importlib.util.spec_from_file_location("make_models", ASSETS / "make_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    directory = tmp_path_factory.mktemp("models")

    def model(name):
        return directory / name if (directory / name).exists() else module.make_model(name, directory)

    return model


@pytest.fixture
def tiny_copy(tiny_model, tmp_path):
    """A copy of the tiny BERT, to be changed."""
    return Path(shutil.copytree(tiny_model("bert"), tmp_path / "copy"))


@pytest.fixture(scope="module")
def one_thread():
    """One thread for torch: more are slower where other tests run beside these, and round otherwise."""
    import torch  # noqa: PLC0415 most tests do not need it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def handlers(tmp_path, one_thread):
    """The operations of a server process, without one."""
    from pgml.runtime.serving.handlers import Handlers  # noqa: PLC0415 as above

    handlers = Handlers(tmp_path / "cache", threads=1)
    yield handlers
    handlers.close()


@pytest.fixture
def connect(handlers):
    """Connect another backend to the same handlers, by a socket as in the server process."""
    backends, threads = [], []

    def connection():
        near, far = socket.socketpair()
        near.settimeout(60)
        thread = threading.Thread(target=serve._serve, args=(far, handlers))
        thread.start()
        threads.append(thread)
        backends.append(Backend(near))
        return backends[-1]

    yield connection
    for backend in backends:
        backend.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def backend(connect):
    return connect()
