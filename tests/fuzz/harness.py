# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
Runs damaged inputs and says what became of each: success, one line that names a fix, or a defect.

Cases run in a process of their own with a bound on its memory, so that a crash or an endless loop is one more outcome.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Protocol


# Processor seconds that a case may take, seconds that it may wait, and bytes that it may add to the process.
TIME_LIMIT, WAIT_LIMIT, MEMORY_LIMIT = 20, 200, 6 << 30

# Errors that reach a user of the command line as one line.
REFUSALS = (ValueError, OSError, NotImplementedError, SystemExit)

_PACKAGE = f"{os.sep}dims_hf{os.sep}"

# What a message of another library has to have in it to be as good as one of ours.
_ADVICE = re.compile(r"\b(must|should|please|choose|use|set|select|specify|one of|expected)\b", re.IGNORECASE)


class Area(Protocol):
    """One kind of input."""

    name: str

    def prepare(self, folder: Path) -> None:
        """Makes what is to be damaged, once."""

    def case(self, rng: Random, folder: Path) -> tuple[str, Callable[[], Any]]:
        """One damaged input in an empty folder: what is wrong with it, and what reads it."""


@dataclass(frozen=True)
class Outcome:
    """
    What became of a case.

    Args:
        area (`str`), seed (`int`), what (`str`): which case it is; area and seed make it again.
        kind (`str`): `survived` (a result), `refused` (one line), or a defect: `traceback`, `unclear` (a message that
            names no fix), `hang`, `crash`.
        text (`str`): the message, or where it came from.
    """

    area: str
    seed: int
    what: str
    kind: str
    text: str = ""

    @property
    def is_defect(self) -> bool:
        """Whether something is to be mended."""
        return self.kind not in ("survived", "refused")

    def __str__(self) -> str:
        return f"{self.area} {self.seed} ({self.what}): {self.kind}: {self.text}"


class _TimeOut(BaseException):
    """Not an `Exception`, so that no library takes it for one of its own."""


def run_cases(area: Area, seeds: range) -> Iterator[Outcome]:
    """
    Outcomes of the cases of an area, in order.

    Args:
        area ([`Area`]): prepared.
        seeds (`range`): one case for each.
    """
    todo = list(seeds)
    while todo:
        for outcome in _in_a_process(area, todo):
            yield outcome
            todo.remove(outcome.seed)


def _in_a_process(area: Area, seeds: list[int]) -> Iterator[Outcome]:
    """Outcomes until all are there, or the process has died, which is one as well."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.close(reader)
            _work(area, seeds, writer)
            os._exit(0)
        finally:
            os._exit(70)  # the harness itself is wrong
    os.close(writer)
    pending: dict[str, Any] | None = None
    with os.fdopen(reader, encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            if "kind" in record:
                pending = None
                yield Outcome(**record)
            else:
                pending = record
    _, status = os.waitpid(process, 0)
    if pending is not None:
        number = os.waitstatus_to_exitcode(status)
        kind = "hang" if number in (-signal.SIGALRM, -signal.SIGPROF) else "crash"
        yield Outcome(area.name, pending["seed"], pending["what"], kind, f"exit status {number}")


def _work(area: Area, seeds: list[int], writer: int) -> None:
    """Body of the process: one line before each case and one after it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_LIMIT, resource.RLIM_INFINITY))
    with os.fdopen(writer, "w", encoding="utf-8") as lines:
        for seed in seeds:
            folder = Path(tempfile.mkdtemp(prefix="dims_hf_fuzz_"))
            try:
                what, call = area.case(Random(f"{area.name} {seed}"), folder)
                _write(lines, {"seed": seed, "what": what})
                kind, text = attempt(call)
                _write(lines, {"area": area.name, "seed": seed, "what": what, "kind": kind, "text": text})
            finally:
                shutil.rmtree(folder, ignore_errors=True)


def _write(lines: Any, record: dict[str, Any]) -> None:
    lines.write(json.dumps(record) + "\n")
    lines.flush()


def attempt(call: Callable[[], Any], seconds: float = TIME_LIMIT, wait: float = WAIT_LIMIT) -> tuple[str, str]:
    """
    Kind and text of what a call does.

    A call that does not come back to Python in time is ended with its process.
    """

    def stop(*_: Any) -> None:
        # the other timer may end at the same moment, and would raise outside of what catches it
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(5)
        raise _TimeOut

    timers = {signal.SIGPROF: (signal.ITIMER_PROF, seconds), signal.SIGALRM: (signal.ITIMER_REAL, wait)}
    before = {number: signal.signal(number, stop) for number in timers}
    for timer, limit in timers.values():
        signal.setitimer(timer, limit)
    try:
        call()
    except _TimeOut:
        return "hang", f"more than {seconds} s of computing or {wait} s at {_last_frames(sys.exc_info()[2])}"
    except REFUSALS as error:
        return _judge(error)
    except BaseException as error:
        return "traceback", f"{type(error).__name__}: {str(error)[:300]} at {_last_frames(error.__traceback__)}"
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])
    return "survived", ""


def _judge(error: BaseException) -> tuple[str, str]:
    """A refusal is ours, or says what is wanted; it is one line, and long enough to say what to do."""
    text = str(error)
    is_ours = _PACKAGE in traceback.extract_tb(error.__traceback__)[-1].filename
    # the system's own words name the file
    is_system = isinstance(error, OSError) and error.filename is not None
    if not (is_ours or is_system or _ADVICE.search(text)):
        return "traceback", f"{type(error).__name__}: {text[:300]} at {_last_frames(error.__traceback__)}"
    if "\n" in text.strip() or len(text) < 25:
        return "unclear", f"{type(error).__name__}: {text[:300]!r} at {_last_frames(error.__traceback__)}"
    return "refused", text


def _last_frames(trace: Any) -> str:
    frames = traceback.extract_tb(trace)
    ours = [frame for frame in frames if _PACKAGE in frame.filename]
    shown = [*frames[-1:], *(ours[-1:] if ours[-1:] != frames[-1:] else [])]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in shown)
