# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf evaluate ...`: the same command line as `training/evaluate.py`."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> None:
    """Score models on a test set."""
    from dims_hf.evaluation import command

    command.main(argv, prog="dims-hf evaluate")
