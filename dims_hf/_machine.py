# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What this process may use, and what is installed; without torch."""

from __future__ import annotations

import importlib.metadata
import os


def usable_cores() -> int:
    """Processor cores that this process may use."""
    # not `cpu_count`, which also counts cores that a container or `taskset` withholds
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def installed_version(distribution: str) -> str | None:
    """Version of a distribution, or `None` where it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
