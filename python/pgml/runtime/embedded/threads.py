"""Threads that PostgreSQL does not see: no signal meant for the backend is handled in one of them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any


def start(function: Callable[..., None], *arguments: Any) -> threading.Thread:
    """A thread, and whatever threads it starts, in which all signals are blocked."""
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return thread
