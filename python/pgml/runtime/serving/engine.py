"""Give requests their turns with loaded models. Knows nothing of sockets.

All loading and computing happens in one thread that takes steps in the order they are asked for. That gives each
request its turn between the micro-batches of the others, lets a model be loaded once whoever asks, keeps tokenizers and
transformers' loading code (neither is safe in threads) from running twice at once, and keeps one OpenMP pool.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import torch

from pgml.runtime.errors import Cancelled, RuntimeFault, as_fault
from pgml.runtime.generation.batcher import Batcher
from pgml.runtime.generation.jobs import Row
from pgml.runtime.generation.requests import TextRequest
from pgml.runtime.serving.directories import weights_size
from pgml.runtime.serving.models import Entry, Key, ModelDirectory, Models
from pgml.runtime.tasks import GENERATION_TASKS, LoadedModel, Results, TaskSpec, task_module

logger = logging.getLogger(__name__)

T = TypeVar("T")
Cancel = Callable[[], bool]
RETRY_SECONDS = 0.05


class Engine:
    """The loaded models. `memory_limit` is in bytes of weights, 0 is no limit; `threads` 0 is all cores."""

    def __init__(self, memory_limit: int = 0, threads: int = 0) -> None:
        self._models = Models(memory_limit)
        self._computing = ThreadPoolExecutor(1, thread_name_prefix="computing")
        torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
        self.digests = self._models.digests
        self.status = self._models.status

    def transform(
        self, directory: ModelDirectory, task: TaskSpec, inputs: list[Any], args: dict[str, Any], cancelled: Cancel
    ) -> list[Any]:
        """The results of a task in the order of the inputs; null for null."""
        positions = [position for position, value in enumerate(inputs) if value is not None]
        results: list[Any] = [None] * len(inputs)
        if not positions:
            return results
        with self._using(directory, task, cancelled) as model:
            steps = task_module(task.name).run(model, [inputs[position] for position in positions], args, cancelled)
            missing = len(positions)
            while missing:
                finished: Results = self._step(lambda: next(steps), cancelled)
                for number, result in finished:
                    results[positions[number]] = result
                missing -= len(finished)
        return results

    def generate(
        self, directory: ModelDirectory, request: TextRequest, cancelled: Cancel
    ) -> Generator[Row, None, None]:
        """What is new of the texts of a request, as soon as anything is."""
        if request.is_empty:
            return
        with self._using(directory, request.task, cancelled) as model:
            job = request.job(cancelled)
            batches = request.sequences(model, job)
            try:
                while (sequences := self._step(lambda: next(batches, None), cancelled)) is not None:
                    model.extra["batcher"].add(job, sequences)
                yield from job.rows()
            finally:
                job.abandon()

    def _step(self, function: Callable[[], T], cancelled: Cancel) -> T:
        """Run a function when it is its turn, unless the client went away meanwhile."""

        def step() -> T:
            if cancelled():
                raise Cancelled
            return function()

        result = self._computing.submit(step).result()
        if cancelled():
            raise Cancelled
        return result

    @contextmanager
    def _using(self, directory: ModelDirectory, task: TaskSpec, cancelled: Cancel) -> Iterator[LoadedModel]:
        """A loaded model, which is not evicted within the context."""
        if task.name not in GENERATION_TASKS:
            with self._entered(Key.of(directory, task), lambda: _load(directory, task), directory, cancelled) as model:
                yield model
            return
        # One copy of the weights serves all tasks that generate text, and all adapters.
        common = replace(task, name="text-generation")
        bottom = directory.base or directory
        key = Key.of(bottom, common)
        with self._entered(key, lambda: self._load_for_text(bottom, task), bottom, cancelled) as base:
            if directory.base is None:
                yield base
                return
            key = Key.of(directory, common)
            with self._entered(key, lambda: _attach(directory, task, base), directory, cancelled) as model:
                yield model

    @contextmanager
    def _entered(
        self, key: Key, load: Callable[[], Entry], directory: ModelDirectory, cancelled: Cancel
    ) -> Iterator[LoadedModel]:
        entry = self._models.enter(key)
        while entry is None:
            if not self._step(lambda: self._load(key, load, directory), cancelled):
                time.sleep(RETRY_SECONDS)  # all the room is taken by models in use
            entry = self._models.enter(key)
        try:
            yield entry.model
        finally:
            if self._models.leave(entry) and entry.release:
                self._computing.submit(entry.release)

    def _load(self, key: Key, load: Callable[[], Entry], directory: ModelDirectory) -> bool:
        """Load a model unless another request has done so; False if there is no room for it now."""
        if key in self._models:
            return True
        self._models.forget_changed(key)
        # What is attached to a loaded base never waits for room: its base is in use by the very request that waits, so
        # the room might never come.
        waits = key.base is None or key.task.name not in GENERATION_TASKS
        size = weights_size(directory.path) + (weights_size(directory.base.path) if directory.base and waits else 0)
        if not self._models.make_room(size, directory.name) and waits:
            return False
        start = time.monotonic()
        try:
            entry = load()
        except RuntimeFault as fault:
            message = f'cannot use model "{directory.name}": {fault.message}'
            raise RuntimeFault(message, sqlstate=fault.sqlstate, detail=fault.detail, hint=fault.hint) from fault
        except Exception as error:
            logger.exception('could not load model "%s"', directory.name)
            raise as_fault(error, f'load model "{directory.name}"') from error
        # What was read may be larger in memory than on disk, so room may be missing only now.
        if not self._models.make_room(entry.bytes, directory.name) and waits:
            return False
        self._models.add(key, entry)
        logger.info('loaded model "%s" for %s in %.1f s', directory.name, key.task.name, time.monotonic() - start)
        return True

    def _load_for_text(self, directory: ModelDirectory, task: TaskSpec) -> Entry:
        entry = _load(directory, task)
        extra = entry.model.extra
        extra["batcher"] = Batcher(extra["runner"], self._computing.submit, extra["adapters"], extra["most_tokens"])
        return entry


def _load(directory: ModelDirectory, task: TaskSpec) -> Entry:
    module = task_module(task.name)
    if directory.base is None:
        model = module.load(directory.path, task)
    elif hasattr(module, "load_adapter"):
        model = module.load_adapter(directory.path, directory.base.path, task)
    else:
        raise RuntimeFault(f"an adapter cannot be used for {task.name}", sqlstate="0A000")
    return Entry(directory, model, model.bytes)


def _attach(directory: ModelDirectory, task: TaskSpec, base: LoadedModel) -> Entry:
    model = task_module(task.name).attach(directory.path, task, base)
    return Entry(directory, model, model.extra["bytes"], model.extra["release"])
