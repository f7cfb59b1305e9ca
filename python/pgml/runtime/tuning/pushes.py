"""Push what a job makes to the Hub: checkpoints while it trains, in the background, and its model at the end.

Whatever goes wrong with the Hub is told and never ends the job. Knows errands; knows nothing of how they push.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pgml import __version__
from pgml.runtime.errors import INSUFFICIENT_PRIVILEGE, RuntimeFault, as_fault
from pgml.runtime.hub.card import model_card
from pgml.runtime.hub.errands import Errand
from pgml.runtime.serving.store import link_files
from pgml.runtime.tuning.channel import Channel
from pgml.runtime.tuning.resuming.checkpoints import RECORD, STATE, folder_of


class Pushes(TrainerCallback):
    """The pushes of one job that has any: `push` is that of its plan.

    `hub` is None if nobody could tell the job its token; `complete` adds to a folder with the weights of a checkpoint
    what makes them a model; `directory` is for folders that wait to be pushed.
    """

    def __init__(
        self,
        channel: Channel,
        hub: dict[str, Any] | None,
        push: dict[str, Any],
        complete: Callable[[Path], None],
        directory: Path,
    ) -> None:
        self._channel = channel
        self._hub = hub
        self._push = push
        self._complete = complete
        self._directory = directory
        # One at a time. A thread of its own, because errands end with the thread that started them.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="pushes")
        self._running: deque[tuple[int, Future[dict[str, Any]]]] = deque()
        shutil.rmtree(directory, ignore_errors=True)  # of a run that was cut short
        directory.mkdir()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Push the new checkpoint, unless another one is on its way still."""
        self._tell_ended(state.global_step)
        if self._hub is None or self._push["strategy"] == "end" or (self._running and not self._push["always_push"]):
            return
        step = state.global_step
        try:
            folder = self._lay_out(folder_of(Path(str(args.output_dir)), step))
        except OSError as error:
            self._tell_failed(step, step, as_fault(error, "lay out the checkpoint"))
            return
        # What fails is in the next push, which is soon.
        request = {**self._request(folder, f"Training in progress, step {step}"), "again": False}
        self._running.append((step, self._worker.submit(_push_folder, self._hub, request, folder)))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Tell what has become of a push as soon as it is known."""
        self._tell_ended(state.global_step)

    def finish(self, directory: Path, card: dict[str, Any]) -> None:
        """Push the model in a directory, with its card, and tell how that ended."""
        try:
            wait([future for _, future in self._running])
            self._tell_ended(self._running[-1][0] if self._running else 0)
            pushed = self._push_model(directory, card)
        except Exception as error:  # noqa: BLE001  the model is stored, and the job must not fail now
            fault = as_fault(error, "push the model to the Hub")
            again = f"Push the model with: {self._push_later(card['model_id'])}"
            fault.hint = f"{fault.hint} {again}" if fault.hint else again
            self._channel.send("push_failed", repo_id=self._push["repo_id"], **fault.as_frame())
        else:
            self._channel.send("pushed", hub=pushed)

    def _lay_out(self, checkpoint: Path) -> Path:
        """A folder with a model that can be used; files have a second name there, as Trainer removes the checkpoint."""
        folder = Path(tempfile.mkdtemp(dir=self._directory))
        link_files(checkpoint, folder)
        for name in (*STATE, RECORD):
            (folder / name).unlink(missing_ok=True)
        self._complete(folder)
        if self._push["strategy"] == "checkpoint":
            link_files(checkpoint, folder / "last-checkpoint")
        elif self._push["strategy"] == "all_checkpoints":
            link_files(checkpoint, folder / checkpoint.name)
        return folder

    def _push_model(self, directory: Path, card: dict[str, Any]) -> dict[str, Any]:
        if self._hub is None:
            raise RuntimeFault(
                "cannot push to the Hub: the access token did not reach the job",
                sqlstate=INSUFFICIENT_PRIVILEGE,
                detail="A token is never kept, and who gave it was gone when the job started.",
            )
        self._channel.notice(f'pushing the model to "{self._push["repo_id"]}" on the Hub')
        (directory / "README.md").write_text(model_card(card, self._push["repo_id"]))
        with Errand.start(self._hub, self._request(directory, "End of training")) as errand:
            for header, _ in errand.frames():
                if "notice" in header:
                    self._channel.notice(header["notice"])
        return {name: header[name] for name in ("repo_id", "url", "commit", "private")}

    def _push_later(self, model_id: int) -> str:
        """The statement that does what was not done."""
        public = "" if self._push["private"] else ", private => false"
        revision = self._push["revision"]
        named = "" if revision is None else ", revision => '" + revision.replace("'", "''") + "'"
        return f"SELECT pgml.push_to_hub({model_id}, '{self._push['repo_id']}'{public}{named});"

    def _request(self, folder: Path, message: str) -> dict[str, Any]:
        where = {name: self._push[name] for name in ("repo_id", "private", "revision")}
        return {"op": "push", **where, "folder": str(folder.absolute()), "message": message}

    def _tell_ended(self, now: int) -> None:
        while self._running and self._running[0][1].done():
            step, future = self._running.popleft()
            error = future.exception()
            if error is None:
                self._channel.send(
                    "log", logs={"push": {"step": step, "commit": future.result()["commit"]}, "step": now}
                )
            else:
                self._tell_failed(step, now, as_fault(error, "push a checkpoint"))

    def _tell_failed(self, step: int, now: int, fault: RuntimeFault) -> None:
        error = fault.as_frame()["error"]["message"]
        self._channel.send("log", logs={"push": {"step": step, "error": error}, "step": now})
        self._channel.notice(f"the checkpoint of step {step} was not pushed: {error}")


def _push_folder(hub: dict[str, Any], request: dict[str, Any], folder: Path) -> dict[str, Any]:
    try:
        with Errand.start(hub, request) as errand:
            return errand.result()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def card_of(job: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """What the card says of a job's model: `job` is its job.json."""
    plan, analysis = job["plan"], job["analysis"]
    labels = analysis.get("labels")
    return {
        **{name: job[name] for name in ("project", "model_id", "test_sampling", "test_size")},
        **{name: analysis[name] for name in ("train_rows", "test_rows", "digest")},
        "task": plan["task"],
        "base_model": job.get("base_model") or plan["base_name"],
        "base_revision": plan.get("base_revision"),
        "relation": job.get("relation"),
        "seed": plan["seed"],
        "labels": sorted(labels) if labels else None,
        "metrics": metrics,
        "hyperparams": plan["hyperparams"],
        "lora": bool(plan["hyperparams"].get("lora_config")),
        "pgml_version": __version__,
    }
