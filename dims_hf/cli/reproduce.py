# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf reproduce [--data CORPUS] [--budget NAME] [--only EXPERIMENT ...]`."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Regenerate tables and figures of the DiMS paper on a corpus."""
    from dims_hf.reproduction.command import reproduce

    return reproduce(argv)
