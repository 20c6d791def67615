# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Where a number comes from: command, commit, versions, hardware."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch


_PACKAGES = ("dims_hf", "torch", "transformers", "tokenizers", "sacrebleu")


def provenance(*, seed: int | None = None) -> dict[str, Any]:
    """Everything about this process that a reader needs to run it again.

    Args:
        seed (`int`, *optional*): the seed the run was given.

    Returns:
        `dict[str, Any]`: `command`, `git_commit` (`None` outside a checkout; ends in `+changes` when files differ from
        it), `seed`, `hardware`, `num_threads`, `python`, `versions`, `created` (UTC).
    """
    return {
        "command": _command(sys.argv),
        "git_commit": git_commit(),
        "seed": seed,
        "hardware": hardware(),
        "num_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def public_name(place: str) -> str:
    """A path's last part, and a Hub id as it is; where it lay on this machine tells a reader nothing."""
    path = Path(place).expanduser()
    # Not `resolve`: a link has the name its user knows.
    return path.absolute().name if path.exists() else place


def hardware() -> str:
    """The processor, its core count, and the accelerators in one line."""
    parts = [f"{_processor_name()}, {_usable_cores()} cores"]
    if torch.cuda.is_available():
        parts += [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return " + ".join(parts)


def git_commit() -> str | None:
    """Commit of the checkout this package runs from, or `None` when it does not run from one."""
    folder = Path(__file__).resolve().parent
    # an installed package may lie in somebody else's repository, which then does not track this file
    if _git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":/")
    return f"{commit}+changes" if commit and changes else commit


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _command(argv: Sequence[str]) -> str:
    """The command line; of paths on this machine, also after `=`, the last part."""
    return shlex.join("=".join(map(_last_part, word.split("="))) for word in argv)


def _last_part(word: str) -> str:
    is_on_this_machine = os.path.isabs(word) or word.startswith("~")
    return os.path.basename(word.rstrip("/")) if is_on_this_machine else word


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
