# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf train RECIPE.yaml [--name value ...]`."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> None:
    """Train a teacher; `accelerate launch training/train_teacher.py` does the same on several devices."""
    from dims_hf.recipes.runs import train_teacher

    train_teacher(argv)
