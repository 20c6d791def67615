# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf make-data RECIPE.yaml [--name value ...]`."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> None:
    """Distil a corpus; `accelerate launch training/make_distilled_data.py` does the same on several devices."""
    from dims_hf.recipes.distilled_data import make_distilled_data

    make_distilled_data(argv)
