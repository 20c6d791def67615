# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Jobs over processes: one model in each, the next job to whoever is free, and a new process for one that dies."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from dims_hf._commands import end_with_parent
from dims_hf._machine import usable_cores
from dims_hf.translation.runtimes import MOST_THREADS

from .shards import Content, Job, Record, Shards


logger = logging.getLogger(__name__)

# A job that ends so many processes is at fault itself: most often, it does not fit into memory.
_MOST_DEATHS = 3

# Seconds between two messages about the progress inside a job.
_MESSAGE_EVERY = 0.5


@dataclass(frozen=True)
class Place:
    """
    Where a model runs.

    Args:
        device (`str`, *optional*): torch device; the runtime's own choice when `None`.
        threads (`int`, *optional*): processor threads; as many as the runtime likes when `None`.
    """

    device: str | None = None
    threads: int | None = None


Translate = Callable[[Job, Callable[[int], object]], Content]
"""Translates the texts of a job, and calls its second argument with the number of texts of each batch done."""

OpenModel = Callable[[Place], Translate]
"""Loads a model at a place. For other processes, it must be a function of a module, or a `partial` of one."""


class Pool:
    """
    Fills shards.

    Args:
        shards ([`Shards`]): where the results go.
        open_model ([`OpenModel`]): called once in every process.
        places (`Sequence[Place]`): one for each process; a single one is this process itself.
        on_rows (`Callable[[int], object]`, *optional*): called with the number of rows that were translated meanwhile.

    Attributes:
        replaced (`int`): processes that died and were replaced.
    """

    def __init__(
        self,
        shards: Shards,
        open_model: OpenModel,
        places: Sequence[Place],
        on_rows: Callable[[int], object] = lambda count: None,
    ) -> None:
        self.shards, self.open_model, self.places, self.on_rows = shards, open_model, places, on_rows
        self.replaced = 0

    def run(self, jobs: Iterable[Job]) -> Iterator[Record]:
        """
        Records of the shards of all jobs, as they are done; jobs are taken when a process is free for one.

        Raises:
            ValueError: what a translator refuses, or a job that ends one process after the other.
            RuntimeError: any other error of a process, with its traceback.
        """
        if len(self.places) == 1:
            yield from self._run_here(iter(jobs))
        else:
            yield from self._run_in_processes(iter(jobs))

    def _run_here(self, jobs: Iterator[Job]) -> Iterator[Record]:
        translate = None
        for job in jobs:
            # with the first job: a run that has nothing to do loads no model
            translate = translate or self.open_model(self.places[0])
            bar = _Progress(len(job.texts), self.on_rows)
            content = translate(job, bar.add)
            bar.finish()
            yield self.shards.write(job, content)

    def _run_in_processes(self, jobs: Iterator[Job]) -> Iterator[Record]:
        deaths: dict[int, int] = {}
        workers: list[_Worker] = []
        try:
            for place in self.places:
                job = next(jobs, None)
                if job is not None:
                    workers.append(_Worker(self.shards, self.open_model, place, job))
            while workers:
                ready = wait([worker.connection for worker in workers])
                # a list, since dead workers are replaced in `workers` meanwhile
                for worker in [each for each in workers if each.connection in ready]:
                    try:
                        record = worker.receive(self.on_rows)
                    except EOFError:
                        workers[workers.index(worker)] = self._replace(worker, deaths)
                        continue
                    if record is None:
                        continue
                    yield record
                    job = next(jobs, None)
                    if job is None:
                        worker.end()
                        workers.remove(worker)
                    else:
                        worker.give(job)
        finally:
            for worker in workers:
                worker.kill()

    def _replace(self, worker: _Worker, deaths: dict[int, int]) -> _Worker:
        """A new process for the job of one that died."""
        # rows of a lost job are told again by the one that does it
        worker.progress.forget()
        code, shard = worker.kill(), worker.job.shard
        deaths[shard] = deaths.get(shard, 0) + 1
        reason = f"signal {-code}" if code is not None and code < 0 else f"status {code}"
        if deaths[shard] == _MOST_DEATHS:
            raise ValueError(
                f"Shard {shard} (from {worker.job.locate(0)}) ended {_MOST_DEATHS} processes, the last with {reason}. "
                "If memory ran out, use fewer processes, a smaller max_tokens_per_batch or a smaller shard_size."
            )
        self.replaced += 1
        logger.warning("A process died (%s) at shard %d; another one does it again.", reason, shard)
        return _Worker(self.shards, self.open_model, worker.place, worker.job)


class _Worker:
    """A process and its job, seen from the one that started it."""

    def __init__(self, shards: Shards, open_model: OpenModel, place: Place, job: Job) -> None:
        self.place = place
        # a fork would copy locks that threads of torch or tokenizers hold
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, shards, open_model, place, os.getpid()), daemon=True
        )
        self.process.start()
        theirs.close()  # so that the end of the process is the end of the connection
        self._take(job)

    def give(self, job: Job) -> None:
        """Hands over the next job; a process that cannot take it is found dead at the next look."""
        self._take(job)
        with suppress(OSError):
            self.connection.send(job)

    def _take(self, job: Job) -> None:
        self.job, self.progress = job, _Progress(len(job.texts), lambda count: None)

    def receive(self, on_rows: Callable[[int], object]) -> Record | None:
        """One message: the record of a shard that is done; `None` for any other.

        Raises:
            EOFError: the process is dead.
        """
        self.progress.on_rows = on_rows
        try:
            kind, value = self.connection.recv()
        except OSError:
            raise EOFError from None
        if kind == "failed":
            raise value
        if kind == "done":
            self.progress.finish()
            return value
        if kind == "rows":
            self.progress.add(value)
        else:  # its model is loaded: until then, a job of more than a pipe holds would make us wait
            self.give(self.job)
        return None

    def end(self) -> None:
        """Lets the process go; it has nothing more to do."""
        self.connection.close()
        self.process.join()

    def kill(self) -> int | None:
        """Ends the process at once; its exit status."""
        # not asked to end: it may be stuck in native code
        self.process.kill()
        self.process.join()
        self.connection.close()
        return self.process.exitcode


class _Progress:
    """Rows of a job told so far: never more than it has, and all of them at its end."""

    def __init__(self, total: int, on_rows: Callable[[int], object]) -> None:
        self.total, self.told, self.on_rows = total, 0, on_rows

    def add(self, count: int) -> None:
        count = min(count, self.total - self.told)
        self.told += count
        if count:
            self.on_rows(count)

    def finish(self) -> None:
        self.add(self.total - self.told)

    def forget(self) -> None:
        """Takes back what was told of a job that has to be done again."""
        if self.told:
            self.on_rows(-self.told)
        self.told = 0


# ---- in the other process ------------------------------------------------------------------------------------------


def _serve(connection: Connection, shards: Shards, open_model: OpenModel, place: Place, parent: int) -> None:
    """Does jobs until the connection ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the one that started us
    end_with_parent(parent, signal.SIGKILL)
    _prepare_libraries(place.threads)
    try:
        translate = open_model(place)
        connection.send(("ready", None))
        while True:
            try:
                job = connection.recv()
            except (EOFError, OSError):
                return
            content = translate(job, _teller(connection))
            connection.send(("done", shards.write(job, content)))
    except Exception as error:
        connection.send(("failed", _sendable(error)))


def _teller(connection: Connection) -> Callable[[int], None]:
    """Sends how many rows are done, twice a second."""
    waiting, last = 0, time.monotonic()

    def tell(count: int) -> None:
        nonlocal waiting, last
        waiting += count
        if time.monotonic() - last > _MESSAGE_EVERY:
            connection.send(("rows", waiting))
            waiting, last = 0, time.monotonic()

    return tell


def _prepare_libraries(threads: int | None) -> None:
    """What they read when they are imported."""
    # one bar for each process would hide the one that counts
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        # every process has its cores; more threads would only wait for one another
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _sendable(error: Exception) -> Exception:
    """The error as the other side raises it: what a user can mend as it is, anything else with its traceback."""
    if isinstance(error, ValueError):
        return ValueError(str(error))
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, error.strerror, error.filename)
    # exceptions of libraries need not survive pickling; text does
    return RuntimeError(f"{type(error).__name__}: {error}\n{''.join(traceback.format_exception(error))}")


def places(processes: int | None, device: str | None, threads: int | None, *, is_exported: bool) -> list[Place]:
    """
    Where the processes run: one for each GPU, or one for each core with a single thread.

    Args:
        processes (`int`, *optional*): how many; one for each GPU or core when `None`.
        device (`str`, *optional*): torch device; GPUs where there are some when `None`. `cuda` is all of them.
        threads (`int`, *optional*): threads of each; 1 when `None`, so that sums come out the same however many
            processes there are.
        is_exported (`bool`): whether the model is an export, which runs on the processor.

    Raises:
        ValueError: `processes` or `threads` below 1, or more than any machine has.
    """
    for name, value in (("processes", processes), ("threads", threads)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be >= 1, got {value}. Leave it out to use what is there.")
        if value is not None and value > MOST_THREADS:
            raise ValueError(f"{name} must be <= {MOST_THREADS}, got {value}. Leave it out to use what is there.")
    gpus = 0 if is_exported or device == "cpu" else _num_gpus()
    threads = threads or 1
    if gpus and device in (None, "cuda"):
        return [Place(f"cuda:{index % gpus}", threads) for index in range(processes or gpus)]
    if device not in (None, "cpu"):
        return [Place(device, threads)] * (processes or 1)
    return [Place(None if is_exported else "cpu", threads)] * (processes or usable_cores())


def _num_gpus() -> int:
    import torch

    return torch.cuda.device_count()
