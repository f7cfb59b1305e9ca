"""Check the conversations in a column of messages before they are trained on. Knows nothing of tokens and templates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.tuning.examples.makers import parse_messages

AT_ONCE = 1000


def check_messages(column: pa.ChunkedArray, used: NDArray[np.int64], relation: str) -> None:
    """Refuse the first row that holds no conversation; rows are numbered from 1 as they were read."""
    for start in range(0, len(used), AT_ONCE):
        numbers = used[start : start + AT_ONCE]
        for number, text in zip(numbers, column.take(pa.array(numbers)).to_pylist(), strict=True):
            _check(text, int(number) + 1, relation)


def _check(text: Any, number: int, relation: str) -> None:
    try:
        parse_messages(text)
    except RuntimeFault as fault:
        raise RuntimeFault(
            f"row {number} of {relation} holds no conversation: {fault.message}",
            sqlstate=fault.sqlstate,
            detail=fault.detail,
            hint=fault.hint,
        ) from fault
