"""Loads data sets one after the other, for a process of its own: like errands, which import for a second each."""

from __future__ import annotations

import os

from datasets_loading import Collected

from pgml.runtime.dataset.load import run
from pgml.runtime.errors import RuntimeFault
from pgml.runtime.frames import read_frame, write_frame
from pgml.runtime.hub.errors import as_hub_fault


def answer(request):
    out = Collected()
    try:
        out.send({"ok": True, **run(request, b"", out)})
    except Exception as error:  # noqa: BLE001 as errands do
        fault = error if isinstance(error, RuntimeFault) else as_hub_fault(error, "load")
        out.send(fault.as_frame())
    return out.loaded.frames


stream = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
requests = os.fdopen(0, "rb")
while frame := read_frame(requests):
    for header, payload in answer(frame[0]):
        write_frame(stream, header, payload)
