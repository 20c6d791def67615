# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
Runs a stage in a process that dies at a chosen file operation, starts it again, and compares with undisturbed runs.

The process is a fork of this one, which has imported what the first run did, so that a start costs no imports. It
dies before an operation (SIGKILL), or inside a write, at a byte (the system's limit on the size of files, which
libraries in C++ and Rust meet as well); or it finds the disk full.
"""

from __future__ import annotations

import errno
import gc
import hashlib
import importlib
import json
import mmap
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any


# Audited events by which files come, change and go; reading is none of them.
_EVENTS = (
    "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
    "shutil.rmtree", "shutil.copyfile", "shutil.move",
)  # fmt: skip

# Those of them that a full disk refuses.
_TAKES_SPACE = ("open", "os.mkdir", "fsync")

# What the clock says, which two runs may agree on by chance; and the checkout, which may be worked on meanwhile.
_VOLATILE = re.compile(r"git_commit|created|since|num_calls|.*(runtime|per_second|seconds|share)|.*milliseconds.*")

# Seconds after which a run counts as hanging.
TIME_LIMIT = 900


@dataclass(frozen=True)
class Plan:
    """
    What happens to a run.

    Args:
        kind (`str`): `kill` before an operation, `cut` inside a write after one, `full`: no space left from one on.
        operation (`int`): which, counted from 1; 0 for none.
        size (`int`): bytes that a file may have, for `cut`.
    """

    kind: str = "kill"
    operation: int = 0
    size: int = 0


@dataclass
class Stage:
    """
    A command to disturb.

    Args:
        name (`str`): of the stage.
        run (`Callable[[Path], Any]`): writes into an output folder; raises, or returns an exit status.
        essential (`tuple[str, ...]`): files that undisturbed runs must write the same, byte for byte.
        ignored (`tuple[str, ...]`): patterns of files that are no results, such as checkpoints to resume from.
    """

    name: str
    run: Callable[[Path], Any]
    essential: tuple[str, ...]
    ignored: tuple[str, ...] = ("checkpoint-*/*", "log.txt")
    expected: dict[str, str] = field(default_factory=dict)
    num_operations: int = 0
    largest_file: int = 0
    total_size: int = 0


# ---- one run -------------------------------------------------------------------------------------------------------


class _Operations:
    """Counts the file operations of a process and of those it forks, and does what a plan says."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.root, self.plan = str(folder), plan
        self.shared = mmap.mmap(-1, 8)

    @property
    def count(self) -> int:
        return int.from_bytes(self.shared[:8], "little")

    def install(self) -> None:
        """For the rest of the life of this process."""
        sys.addaudithook(self._look)
        sync = os.fsync

        def fsync(handle: int) -> None:
            self._next("fsync", "fsync")
            sync(handle)

        os.fsync = fsync

    def _look(self, event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and self._is_ours(path):
                self._next(event, path)
        elif event in _EVENTS and any(map(self._is_ours, arguments[:2])):
            self._next(event, arguments[0])

    def _is_ours(self, path: Any) -> bool:
        return isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(self.root)

    def _next(self, event: str, path: Any) -> None:
        number = self.count + 1
        self.shared[:8] = number.to_bytes(8, "little")
        if not self.plan.operation or number < self.plan.operation:
            return
        if self.plan.kind == "full" and event in _TAKES_SPACE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if number == self.plan.operation and self.plan.kind == "kill":
            os.killpg(0, signal.SIGKILL)
        if number == self.plan.operation and self.plan.kind == "cut":
            # Python ignores the signal, and the write would only fail.
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.plan.size, self.plan.size))


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit status (negative: the signal), file operations, and the last line it wrote."""

    status: int
    num_operations: int
    last_line: str


def start(stage: Stage, folder: Path, plan: Plan = Plan()) -> tuple[int, _Operations, Path]:
    """Forks a run of a stage into `folder/out`; returns its process, its counter and its log."""
    operations = _Operations(folder, plan)
    log = folder.with_name(f"{folder.name}.{time.monotonic_ns()}.log")
    process = os.fork()
    if process:
        return process, operations, log
    status = 70
    try:
        os.setsid()
        handle = os.open(log, os.O_WRONLY | os.O_CREAT)
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(handle, number)
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # pytest has put others there
        operations.install()
        status = run_like_a_command(lambda: stage.run(folder / "out"))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run_like_a_command(call: Callable[[], Any]) -> int:
    """Exit status of what the command line would make of a call."""
    from dims_hf.cli import main as command_line

    command_line.COMMANDS["stage"] = ("tests.kills.harness", "a stage")
    run_like_a_command.call = call
    return command_line.main(["stage"])


def main(_: Any) -> Any:
    """The command `stage`."""
    value = run_like_a_command.call()
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def finish(process: int, operations: _Operations, log: Path) -> Ended:
    """Waits for a run."""
    deadline = time.monotonic() + TIME_LIMIT
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.killpg(process, signal.SIGABRT)
        time.sleep(0.02)
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    log.unlink()
    return Ended(os.waitstatus_to_exitcode(status), operations.count, lines[-1] if lines else "")


def run(stage: Stage, folder: Path, plan: Plan = Plan()) -> Ended:
    """A run from its start to its end."""
    return finish(*start(stage, folder, plan))


# ---- what a run leaves ---------------------------------------------------------------------------------------------


def snapshot(folder: Path, ignored: tuple[str, ...]) -> dict[str, str]:
    """Every file below a folder by its content; JSON and Markdown by their parts, as some of them tell the time."""
    found: dict[str, str] = {}
    for path in sorted(path for path in folder.rglob("*") if not path.is_dir()):
        name = str(path.relative_to(folder))
        if any(path.match(pattern) for pattern in ignored) or "checkpoint-" in name:
            continue
        found.update(_parts(name, path))
    return found


def _parts(name: str, path: Path) -> Iterator[tuple[str, str]]:
    data = path.read_bytes()
    yield name, ""
    try:
        if path.suffix == ".json":
            yield from _leaves(name, json.loads(data))
            return
        if path.suffix in (".md", ".yaml", ".jsonl", ".txt"):
            yield from ((f"{name}:{number}", line) for number, line in enumerate(data.decode().split("\n")))
            return
    except ValueError:
        pass  # cut off
    yield f"{name}:sha256", hashlib.sha256(data).hexdigest()


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in items:
            if _VOLATILE.fullmatch(str(key)):
                continue
            yield from _leaves(f"{name}/{key}", each)
    else:
        yield name, repr(value)


def measure(stage: Stage, folder: Path) -> None:
    """Two undisturbed runs: what they have in common is what a disturbed one must come to."""
    snapshots = []
    imports = folder.with_name("imports.txt")
    for number in range(2):
        _clear(folder)
        ended = run(stage if number else replace(stage, run=_noting_imports(stage.run, imports)), folder)
        if ended.status:
            raise RuntimeError(f"{stage.name} does not work undisturbed: {ended.last_line}")
        snapshots.append(snapshot(folder, stage.ignored))
        _import(imports.read_text(encoding="utf-8").splitlines())
    stage.num_operations = ended.num_operations
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    stage.largest_file, stage.total_size = max(sizes), sum(sizes)
    first, second = snapshots
    if first.keys() != second.keys():
        raise RuntimeError(f"{stage.name} writes other files each time: {sorted(first.keys() ^ second.keys())[:5]}")
    stage.expected = {name: value for name, value in first.items() if second[name] == value}
    for name in stage.essential:
        if not any(key.startswith(f"out/{name}") and stage.expected[key] for key in stage.expected):
            raise RuntimeError(f"{stage.name} does not write the same {name} each time")


def _noting_imports(call: Callable[[Path], Any], place: Path) -> Callable[[Path], Any]:
    def call_and_note(output_dir: Path) -> Any:
        value = call(output_dir)
        place.write_text("\n".join(sys.modules), encoding="utf-8")
        return value

    return call_and_note


def _import(names: list[str]) -> None:
    """Modules that later forks would each import again; those made while running have no file and are left out."""
    for name in names:
        with suppress(Exception):
            importlib.import_module(name)
    gc.freeze()  # forks need not look through them


def differences(stage: Stage, folder: Path) -> list[str]:
    """What a disturbed run left otherwise than undisturbed ones, files beside the output folder included."""
    found = snapshot(folder, stage.ignored)
    missing = [f"no {name}" for name in stage.expected if name not in found]
    added = [f"also {name}" for name, value in found.items() if not value and name not in stage.expected]
    changed = [f"another {name}" for name, value in stage.expected.items() if found.get(name, value) != value]
    return [*missing, *added, *changed]


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


# ---- disturbances --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """
    One disturbance and what came of it.

    Args:
        stage (`str`), plan ([`Plan`]): what was done to which stage.
        outcome (`str`): `equal`, `not disturbed`, or a defect: `different`, `failed`, `unclear`.
        text (`str`): what is different, or the message.
    """

    stage: str
    plan: Plan
    outcome: str
    text: str = ""

    @property
    def is_defect(self) -> bool:
        """Whether something is to be mended."""
        return self.outcome not in ("equal", "not disturbed")


def draw_plan(stage: Stage, rng: Random, kind: str) -> Plan:
    """A disturbance at a random operation; writes are cut at sizes that the stage's files reach."""
    operation = rng.randint(1, stage.num_operations)
    size = int(10 ** rng.uniform(1, len(str(stage.largest_file)) - 0.5)) if kind == "cut" else 0
    return Plan(kind, operation, size)


def disturb(stage: Stage, folder: Path, plan: Plan) -> Trial:
    """Disturbs a run, runs it again, and compares; a full disk must have been told in one line."""
    _clear(folder)
    ended = run(stage, folder, plan)
    if ended.status == 0:
        return Trial(stage.name, plan, "not disturbed")
    if plan.kind == "full" and not _tells_full_disk(ended):
        return Trial(stage.name, plan, "unclear", f"{ended.status}: {ended.last_line}")
    if plan.kind != "full" and not _died(ended):
        return Trial(stage.name, plan, "failed", f"{ended.status}: {ended.last_line}")
    return _again(stage, folder, plan)


def _died(ended: Ended) -> bool:
    """Whether the process did, or a training that it had started, which it named."""
    told = ended.status == 1 and re.match(r"error: (teacher|student)-\S+: ", ended.last_line)
    return bool(told) or ended.status in (-signal.SIGKILL, -signal.SIGXFSZ)


def _again(stage: Stage, folder: Path, plan: Plan) -> Trial:
    ended = run(stage, folder)
    wrong = differences(stage, folder)
    # Killed when all was done, a command that overwrites nothing says that it is.
    if ended.status and (wrong or ended.status != 2):
        return Trial(stage.name, plan, "failed", f"{ended.status}: {ended.last_line}")
    return Trial(stage.name, plan, "different" if wrong else "equal", "; ".join(wrong[:4]))


def _tells_full_disk(ended: Ended) -> bool:
    text = ended.last_line.lower()
    return ended.status == 2 and text.startswith("error: ") and ("disk is full" in text or "no space" in text)


def fill_disk(stage: Stage, folder: Path, share: float) -> Trial:
    """Runs on a file system that holds only a share of the output, then on a large one; needs the right to mount."""
    plan = Plan("small disk", size=int(stage.total_size * share))
    _clear(folder)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={max(plan.size, 4096)}", "none", str(folder)], check=True)
    try:
        ended = run(stage, folder)
        if ended.status == 0:
            return Trial(stage.name, plan, "not disturbed")
        if not _tells_full_disk(ended):
            return Trial(stage.name, plan, "unclear", f"{ended.status}: {ended.last_line}")
        subprocess.run(["mount", "-o", "remount,size=1g", str(folder)], check=True)
        return _again(stage, folder, plan)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def start_two(stage: Stage, folder: Path) -> Trial:
    """Two starts at once: one ends well, the other does too or says that the folder is taken; the result is whole."""
    plan = Plan("two at once")
    _clear(folder)
    first, second = start(stage, folder), start(stage, folder)
    ended = [finish(*first), finish(*second)]
    told = [each for each in ended if each.status == 2 and each.last_line.startswith("error: ")]
    if len(told) + sum(each.status == 0 for each in ended) < 2 or len(told) == 2:
        shown = " | ".join(f"{each.status}: {each.last_line}" for each in ended)
        return Trial(stage.name, plan, "failed", shown)
    wrong = differences(stage, folder)
    return Trial(stage.name, plan, "different" if wrong else "equal", "; ".join(wrong[:4]))
