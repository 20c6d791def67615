# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Peak memory of one system, in a process that has nothing else in it."""

from __future__ import annotations

import gc
import multiprocessing
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dims_hf.benchmark.groups import Group, load_sentences, make_workload
from dims_hf.benchmark.settings import BenchmarkSettings
from dims_hf.benchmark.systems import System, make_systems
from dims_hf.benchmark.weights import make_weights
from dims_hf.benchmark.workloads import Workload


if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")

# Writing it there sets the peak to what is resident now.
_RESET_PEAK = "5"


def measure_memory(settings: BenchmarkSettings, system: str, groups: Sequence[Group], models: Path) -> dict[str, Any]:
    """
    Runs a system in a process of its own.

    Args:
        settings ([`BenchmarkSettings`]): of the benchmark.
        system (`str`): its name.
        groups (`Sequence[Group]`): where it was measured, all on one device.
        models (`Path`): folder of exported models.

    Returns:
        `dict[str, Any]`: key of a group to MiB beyond those of a process that has imported torch and transformers, at
        the peak of a translation after loading; `error` where the process failed.
    """
    request = {"settings": asdict(settings), "system": system, "groups": [asdict(group) for group in groups]}
    request["models"] = str(models)
    # exporting and converting take more memory than what they make, and leave some of it behind
    failure = _run_apart(prepare, request)
    return failure or _run_apart(worker, request)


def _run_apart(function: Callable[[dict[str, Any]], dict[str, Any]], request: dict[str, Any]) -> dict[str, Any]:
    """What a function answers in a process of its own, or its `error`."""
    # a server that has imported everything once; a process forked from here would share our memory, and our threads
    is_there = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if is_there else "spawn")
    context.set_forkserver_preload([__name__, "dims_hf.models", "transformers.models.marian.modeling_marian"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(function, request, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return {"error": "the process was killed, for want of memory perhaps"}
    finally:
        process.join()


def _answer(function: Callable[[dict[str, Any]], dict[str, Any]], request: dict[str, Any], sender: Connection) -> None:
    try:
        sender.send(function(request))
    except Exception as error:
        # whatever it is, the other systems' figures are as good without this one
        sender.send({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"})


def prepare(request: dict[str, Any]) -> dict[str, Any]:
    """Opens the system once per group, so that whatever it exports or converts is there; an empty answer."""
    for group, workload, system in _read(request):
        system.weights.forget()
        system.open(group.device, group.threads, workload.forced_tokens, Path(request["models"]))
    return {}


def worker(request: dict[str, Any]) -> dict[str, float]:
    """What the process does: loads the system, then translates once per group."""
    import transformers.models.marian.modeling_marian  # noqa: F401 what every process has is not the system's

    import dims_hf.models  # noqa: F401

    device, peaks = request["groups"][0]["device"], {}
    before = used_memory(device)
    for group, workload, system in _read(request):
        torch.set_num_threads(group.threads)
        system.weights.forget()
        translator = system.open(device, group.threads, workload.forced_tokens, Path(request["models"]))
        inputs = translator.prepare(max(workload.batches, key=lambda batch: sum(map(len, batch.rows))))
        translator.run(inputs)
        gc.collect()
        reset_peak(device)
        translator.run(inputs)
        peaks[group.key] = round(peak_beyond(before, device) / 2**20, 1)
    return peaks


def _read(request: dict[str, Any]) -> Iterator[tuple[Group, Workload, System]]:
    """Groups of a request with what is translated in each, and the system."""
    settings = BenchmarkSettings(**request["settings"])
    groups = [Group(**group) for group in request["groups"]]
    system = next(each for each in make_systems(settings, make_weights(settings)) if each.name == request["system"])
    corpus = load_sentences(settings)
    # small batches first: what a large one leaves in the allocator would count for the next
    sizes = {group: settings.batch_size(group.batch, group.length or 1) for group in groups}
    for group in sorted(groups, key=lambda group: sizes[group] * (group.length or 1)):
        yield group, make_workload(group, system.weights, settings, corpus), system


def reset_peak(device: str) -> None:
    """Lets the peak of this process begin at what it uses now (on Linux; on a GPU everywhere)."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR.exists():
        _CLEAR.write_text(_RESET_PEAK)


def peak_beyond(before: float, device: str) -> float:
    """
    Bytes at the peak since [`reset_peak`], of a process that used `before` when it had loaded nothing: resident memory
    on the CPU; on a GPU what torch has allocated, or, where that is nothing, what is in use there now beyond `before`.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) or used_memory(device) - before
    if _STATUS.exists():
        # not ru_maxrss: there, a process inherits the peak of the one that started it
        return _status("VmHWM") - before
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def used_memory(device: str) -> float:
    """Bytes in use now: resident memory on the CPU; on a GPU, whatever is allocated there. 0 where nothing tells."""
    if torch.device(device).type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return total - free
    return _status("VmRSS") if _STATUS.exists() else 0.0


def _status(name: str) -> float:
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return 1024 * float(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))
