"""Measure, in a cluster of its own, and print one table: `python -m tests.bench [NAME …]`.

Nothing here is an assertion. What is compared runs in turns in the same run, so that a busy moment of the machine hurts
both alike; numbers are medians.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time

from tests.bench import chat, load, measures
from tests.bench.setting import Setting
from tests.bench.table import Row, render

MEASURES = {
    "predict": measures.predict_on_a_new_connection,
    "transform": measures.transform_of_many_texts,
    "tune": measures.overhead_of_tune,
    "memory": measures.memory_of_idle_connections,
    "rows": measures.predict_row_by_row,
    "chat-tune": chat.tuning_against_trl,
    "chat": chat.sessions_at_once,
    "adapters": chat.adapters_on_one_base,
    "load": load.load_against_copy,
}


def main() -> None:
    """Run the measures that are named, or all."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure pgml against plain Python, in a cluster of its own.",
        epilog="Names: " + "; ".join(f"{name}: {(m.__doc__ or '').splitlines()[0]}" for name, m in MEASURES.items()),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure; default: everything")
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help="repeat each side so often; default: enough")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - MEASURES.keys())
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the cluster is to be removed then too
    rows: list[Row] = []
    with Setting(options.rounds) as setting:
        for name in options.names or MEASURES:
            start = time.monotonic()
            print(f"==> {name}", file=sys.stderr, flush=True)
            rows += MEASURES[name](setting)
            print(f"    {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    print(render(rows))


if __name__ == "__main__":
    main()
