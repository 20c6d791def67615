# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Starting a training in processes of its own: one-thread processes on a CPU, one process for each GPU."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from dims_hf._commands import Terminated


# More processes on a CPU spend their time waiting for each other.
_MAX_CPU_PROCESSES = 2

# Launchers end their workers when they are asked to; torch's gives them half a minute before it kills them.
_TIME_OF_ITS_OWN, _TIME_TO_END = 5.0, 45.0

# Launchers that are running, for whoever has to end them from another thread.
_running: set[subprocess.Popen] = set()

_MIXED_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


@dataclass(frozen=True)
class Processes:
    """
    In how many processes a training runs, and on what.

    Args:
        count (`int`): processes.
        on_gpu (`bool`): whether each has a GPU.
    """

    count: int
    on_gpu: bool = False

    def split_tokens(self, tokens_per_update: int, max_tokens: int | None = None) -> dict[str, int]:
        """`max_tokens_per_batch` of a process, at most `max_tokens`, and the accumulation that makes up the rest."""
        share = math.ceil(tokens_per_update / self.count)
        accumulation = 1 if max_tokens is None else math.ceil(share / max_tokens)
        return {
            "max_tokens_per_batch": tokens_per_update // (self.count * accumulation),
            "gradient_accumulation_steps": accumulation,
        }


def cpu_processes() -> Processes:
    """As many processes of one thread as there are cores, but two at most."""
    return Processes(min(_MAX_CPU_PROCESSES, os.cpu_count() or 1))


def find_processes() -> Processes:
    """One for each GPU; without any, [`cpu_processes`]."""
    return Processes(torch.cuda.device_count(), on_gpu=True) if torch.cuda.is_available() else cpu_processes()


def launch(
    program: Sequence[str | Path], processes: Processes, *, precision: str = "fp32", log: Path | None = None
) -> int:
    """
    Runs a Python program in processes that know of each other, and waits; an interrupt ends them too.

    Args:
        program (`Sequence[str]`): path of a script or `-m` and a module, then its arguments.
        processes ([`Processes`]): how many, and on what.
        precision (`str`): on GPUs, what accelerate is told: `fp32`, `bf16` or `fp16`.
        log (`Path`, *optional*): file that gets, at its end, what the program writes; default: this process's output.

    Returns:
        `int`: exit status of the launcher, 0 where all went well.
    """
    command = [sys.executable, *_launcher(processes, precision), *map(str, program)]
    environment = {**os.environ, "PYTHONPATH": _python_path()}
    if not processes.on_gpu:
        environment.update(ACCELERATE_USE_CPU="true", OMP_NUM_THREADS="1")
    with nullcontext() if log is None else log.open("a", encoding="utf-8") as stream:
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
        _running.add(process)
        try:
            return process.wait()
        except KeyboardInterrupt as interrupt:
            # Ctrl-C in a terminal is meant for all of its processes, which are about to end by themselves.
            _end(process, _TIME_OF_ITS_OWN if not isinstance(interrupt, Terminated) else 0)
            raise
        finally:
            _end(process)
            _running.discard(process)


def end_launched() -> None:
    """Ends whatever is running through [`launch`], in all threads, with its workers."""
    for process in list(_running):
        _end(process)


def _end(process: subprocess.Popen, seconds: float = 0) -> None:
    """Waits a little for a launcher to end by itself, then asks it to, and ends it should it not."""
    for ask, patience in ((None, seconds), (process.terminate, _TIME_TO_END), (process.kill, None)):
        if process.poll() is not None:
            return
        if ask is not None:
            ask()
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def _launcher(processes: Processes, precision: str) -> list[str]:
    if not processes.on_gpu:
        # `accelerate launch --cpu --num_processes 2` starts one process only.
        return ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes.count)]
    launcher = ["-m", "accelerate.commands.launch", "--num_processes", str(processes.count), "--num_machines", "1"]
    launcher += ["--mixed_precision", _MIXED_PRECISION[precision], "--dynamo_backend", "no"]
    return [*launcher, *(["--multi_gpu"] if processes.count > 1 else [])]


def _python_path() -> str:
    """The children import the package from where this process has it, installed or not."""
    root = str(Path(__file__).resolve().parents[2])
    rest = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join([root, *([rest] if rest else [])])
