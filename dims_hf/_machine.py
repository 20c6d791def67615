# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What this process may use, and what is installed; torch is imported where it alone knows."""

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


def multiplies_bf16() -> bool:
    """Whether this CPU multiplies matrices in bf16; without, torch takes tens of times as long as in fp32."""
    import torch

    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
