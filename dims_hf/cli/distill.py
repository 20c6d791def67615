# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf distill RECIPE.yaml [--name value ...]`."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> None:
    """Distil a student; `accelerate launch training/train_dims.py` does the same on several devices."""
    from dims_hf.recipes.runs import distill

    distill(argv)
