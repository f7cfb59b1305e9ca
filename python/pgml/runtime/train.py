"""Tune one model: `python -m pgml.runtime.train <job directory>`, or go on where that was cut short: with `--resume`.

Reads `job.json` and the rows that a backend wrote, and reports in frames on standard output
(docs/reference/protocol.md). Knows nothing of the database: whatever it makes it sends.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pgml.runtime import frames, logs
from pgml.runtime.environment import (
    MISSING_PACKAGE,
    install_hint,
    prepare_environment,
    prepare_training,
    share_processors,
)
from pgml.runtime.errors import as_fault
from pgml.runtime.redaction import remember
from pgml.runtime.tuning.channel import FAILED, Channel, StandardOutput
from pgml.runtime.tuning.examples.progress import Tokenising
from pgml.runtime.tuning.resuming.beginning import begin, notes_of

logger = logging.getLogger("pgml.runtime.train")

# Of glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def main(arguments: list[str]) -> int:
    """Run the job and return the process's exit status."""
    logs.setup()
    channel = StandardOutput()
    try:
        job = Path(arguments[0])
        request = read_request(job)
        _prepare_process(job)
        _keep_freed_memory(request["plan"]["task"])
        tune(channel, job, request, _hub_of_standard_input, resume="--resume" in arguments)
    except ModuleNotFoundError as error:
        message = f"Python package {error.name} is missing from {sys.executable}"
        logger.error(message, extra={"hint": install_hint()})  # noqa: TRY400  no traceback wanted
        return MISSING_PACKAGE
    except Exception as error:
        # The job's row has to say what happened, whatever it was.
        logger.info("tuning failed", exc_info=error)
        channel.send_error(as_fault(error, "tune the model"))
        return FAILED
    return 0


def read_request(job: Path) -> dict[str, Any]:
    """What a job is asked to do."""
    request: dict[str, Any] = json.loads((job / "job.json").read_text())
    return request


def tune(
    channel: Channel,
    job: Path,
    request: dict[str, Any],
    read_hub: Callable[[], dict[str, Any] | None],
    *,
    resume: bool = False,
) -> None:
    """The run, from top to bottom. `read_hub` gives what a push needs to know of the Hub."""
    plan, analysis = request["plan"], request["analysis"]
    checkpoint = begin(channel, job, plan, analysis, resume=resume)

    # The heavy imports: after the channel is open, so that what they lack can be told.
    from transformers import set_seed  # noqa: PLC0415

    from pgml.runtime.tuning.artefacts import send_files  # noqa: PLC0415
    from pgml.runtime.tuning.examples.tokenised import count_rows, unusual_rows  # noqa: PLC0415
    from pgml.runtime.tuning.fit import fit, peak_memory  # noqa: PLC0415
    from pgml.runtime.tuning.kinds import kind_of  # noqa: PLC0415
    from pgml.runtime.tuning.pushes import Pushes, card_of  # noqa: PLC0415

    kind = kind_of(job, plan, analysis)
    channel.notice("loading the base model")
    set_seed(plan["seed"])
    kind.load(channel)

    channel.notice(f"tokenising {analysis['used']} rows")
    count = Tokenising(channel, analysis["used"])
    train, test = kind.tokenise("train", count), kind.tokenise("test", count)
    for message in unusual_rows(train, test, analysis["used"]):
        channel.notice(message)

    trainer = kind.make_trainer(channel, train, test)
    pushes = Pushes(channel, read_hub(), plan["push"], kind.complete, job / "pushes") if plan.get("push") else None
    if pushes is not None:
        trainer.add_callback(pushes)
    channel.notice(f"training on {len(train.rows)} rows, testing on {len(test.rows)}, on {_device(trainer)}")
    metrics = fit(trainer, notes_of(plan, analysis), checkpoint)
    metrics |= kind.evaluate(trainer, test) | peak_memory(trainer) | count_rows(train, test)
    metrics["train_tokens_per_second"] = round(train.tokens * metrics["epoch"] / metrics["train_runtime"], 1)

    kind.save(job / "model")
    send_files(channel, job / "model")
    channel.send("done", metrics=metrics)
    if pushes is not None:
        pushes.finish(job / "model", card_of(request, metrics))


def _device(trainer: Any) -> str:
    return "the CPU" if trainer.args.device.type == "cpu" else str(trainer.args.device)


def read_hub(stream: frames.Reader) -> dict[str, Any] | None:
    """What the other side says of the Hub, tokens included; None if it says nothing."""
    frame = frames.read_frame(stream)
    hub = frame[0].get("hub") if frame else None
    if not isinstance(hub, dict):
        return None
    remember(hub.get("token"))
    remember(hub.get("push_token"))
    return hub


def _hub_of_standard_input() -> dict[str, Any] | None:
    with os.fdopen(0, "rb", buffering=0, closefd=False) as stream:
        return read_hub(stream)


def _prepare_process(job: Path) -> None:
    """Set what the libraries read from the environment when they are imported."""
    share_processors()
    prepare_training()
    prepare_environment(str(job / "output" / "home"))
    # A job is one process on one GPU; with several in sight, Trainer would spread each batch over all of them.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[0]
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads:
        os.environ.setdefault("RAYON_NUM_THREADS", threads)


def _keep_freed_memory(task: str) -> None:
    """Have malloc keep what is freed: fresh pages for the tensors of each step are a fifth of the time on long text."""
    from pgml.runtime.tuning.base_model import CAUSAL_TASKS  # noqa: PLC0415 a heavy import

    if task in CAUSAL_TASKS:
        return  # packed batches are all of different sizes, and what is kept of one seldom fits the next
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # another C library has none
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


if __name__ == "__main__":
    # Not sys.exit: torch and datasets take a second or two to unload, and everything was sent.
    os._exit(main(sys.argv[1:]))
