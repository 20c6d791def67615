# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Speed of our models against autoregressive peers, measured in turns in one process; quality beside it."""

from __future__ import annotations

from .leaderboard import plot_leaderboard, run_leaderboard
from .run import run_benchmark
from .settings import BenchmarkSettings
from .systems import SYSTEMS


__all__ = [
    "SYSTEMS",
    "BenchmarkSettings",
    "plot_leaderboard",
    "run_benchmark",
    "run_leaderboard",
]
