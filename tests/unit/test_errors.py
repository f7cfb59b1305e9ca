"""What exceptions look like in frames."""

from __future__ import annotations

import errno

import pytest
import torch

from pgml.runtime.errors import Cancelled, RuntimeFault, as_fault


def test_a_fault_becomes_an_error_frame():
    fault = RuntimeFault("task names no model", sqlstate="22023", detail="It has none.", hint="Name one.")
    assert fault.as_frame() == {
        "error": {"sqlstate": "22023", "message": "task names no model", "detail": "It has none.", "hint": "Name one."}
    }
    assert as_fault(fault, "do anything") is fault


def test_tokens_do_not_leave_in_errors():
    frame = RuntimeFault("no access with hf_abcdefgh12345", detail="Token hf_abcdefgh12345.").as_frame()
    assert frame["error"]["message"] == "no access with [redacted]"
    assert "12345" not in str(frame)


@pytest.mark.parametrize(
    ("error", "sqlstate"),
    [
        (MemoryError(), "53200"),
        (torch.OutOfMemoryError("CUDA out of memory."), "53200"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "53200"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "58P01"),
        (PermissionError(errno.EACCES, "Permission denied"), "42501"),
        (OSError(errno.ENOSPC, "No space left on device"), "53100"),
        (OSError(errno.EIO, "Input/output error"), "58030"),
        (KeyboardInterrupt(), "57014"),
        (Cancelled(), "57014"),
        (RuntimeError("shapes do not match"), "XX000"),
        (ZeroDivisionError(), "XX000"),
    ],
)
def test_the_sqlstate_fits_the_exception(error, sqlstate):
    assert as_fault(error, "run transform").sqlstate == sqlstate


def test_an_unknown_exception_is_told_by_its_last_line():
    fault = as_fault(RuntimeError("sizes of tensors\n  must match"), "run transform")
    assert (fault.message, fault.detail) == ("could not run transform", "RuntimeError: sizes of tensors must match")


def test_torch_running_out_of_memory_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55)
    assert as_fault(caught.value, "run transform").sqlstate == "53200"
