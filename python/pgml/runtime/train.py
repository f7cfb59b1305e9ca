"""Tune one model: `python -m pgml.runtime.train <job directory>`.

Reads `job.json` and the rows that a backend wrote, and reports in frames on standard output (docs/protocol.md). Knows
nothing of the database: whatever it makes it sends.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from pgml.runtime import logs
from pgml.runtime.environment import prepare_environment, share_processors
from pgml.runtime.errors import as_fault
from pgml.runtime.tuning.channel import FAILED, Channel

logger = logging.getLogger("pgml.runtime.train")

PACKAGE_MISSING = 3
# Of glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def main(arguments: list[str]) -> int:
    """Run the job and return the process's exit status."""
    logs.setup()
    channel = Channel()
    try:
        job = Path(arguments[0])
        _prepare_process(job)
        tune(channel, job)
    except ModuleNotFoundError as error:
        command = f"{sys.executable} -m pip install 'pgml[runtime]'"
        message = f"Python package {error.name} is missing from {sys.executable}"
        logger.error(message, extra={"hint": f"Install it: {command}"})  # noqa: TRY400  no traceback wanted
        return PACKAGE_MISSING
    except Exception as error:
        # The job's row has to say what happened, whatever it was.
        logger.info("tuning failed", exc_info=error)
        channel.send_error(as_fault(error, "tune the model"))
        return FAILED
    return 0


def tune(channel: Channel, job: Path) -> None:
    """The run, from top to bottom."""
    request = json.loads((job / "job.json").read_text())
    plan, analysis = request["plan"], request["analysis"]
    training_args, tokenizer_args = (plan["hyperparams"][key] for key in ("training_args", "tokenizer_args"))
    labels = sorted(analysis["labels"])

    # The heavy imports: after the channel is open, so that what they lack can be told.
    from transformers import set_seed  # noqa: PLC0415

    from pgml.runtime.tuning.artefacts import save_model, send_files  # noqa: PLC0415
    from pgml.runtime.tuning.classifier import load_classifier  # noqa: PLC0415
    from pgml.runtime.tuning.fit import evaluate, fit, make_trainer, peak_memory  # noqa: PLC0415
    from pgml.runtime.tuning.tokenised import tokenise  # noqa: PLC0415

    channel.notice("loading the base model")
    set_seed(plan["seed"])
    model, tokenizer, keeps_head = load_classifier(plan["base"], labels)
    if keeps_head:
        channel.notice("the model has these labels already, training goes on from its weights")

    channel.notice(f"tokenising {analysis['used']} rows")
    train = tokenise(job, "train", tokenizer, labels, tokenizer_args)
    test = tokenise(job, "test", tokenizer, labels, tokenizer_args)
    truncated = train.truncated + test.truncated
    if truncated:
        channel.notice(f"{truncated} of {analysis['used']} rows are longer than the model takes and were truncated")

    trainer = make_trainer(channel, model, tokenizer, train, test, training_args, job / "output")
    channel.notice(f"training on {len(train.rows)} rows, testing on {len(test.rows)}, on {_device(trainer)}")
    metrics = fit(trainer)
    metrics |= evaluate(trainer, test, labels) | peak_memory(trainer)
    metrics["train_tokens_per_second"] = round(train.tokens * metrics["epoch"] / metrics["train_runtime"], 1)
    metrics |= {"train_rows": len(train.rows), "test_rows": len(test.rows), "truncated_rows": truncated}

    save_model(job / "model", trainer.model, tokenizer, plan["task"], tokenizer_args)
    send_files(channel, job / "model")
    channel.send("done", metrics=metrics)


def _device(trainer: Any) -> str:
    return "the CPU" if trainer.args.device.type == "cpu" else str(trainer.args.device)


def _prepare_process(job: Path) -> None:
    """Set what the libraries read from the environment when they are imported."""
    share_processors()
    prepare_environment(str(job / "output" / "home"))
    # A job is one process on one GPU; with several in sight, Trainer would spread each batch over all of them.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[0]
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads:
        os.environ.setdefault("RAYON_NUM_THREADS", threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Have malloc keep what is freed: fresh pages for the tensors of each step are a fifth of the time on long text."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # another C library has none
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


if __name__ == "__main__":
    # Not sys.exit: torch and datasets take a second or two to unload, and everything was sent.
    os._exit(main(sys.argv[1:]))
