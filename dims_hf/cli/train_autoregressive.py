# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf train-autoregressive RECIPE.yaml [--name value ...]`."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> None:
    """Train an autoregressive model; `accelerate launch training/train_autoregressive.py` does the same."""
    from dims_hf.recipes.autoregressive import train_autoregressive

    train_autoregressive(argv)
