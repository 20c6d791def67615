# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Evaluates a teacher and its student: `python training/evaluate.py --help`. The work is in `dims_hf.evaluation`."""

from __future__ import annotations

import sys

import dims_hf  # noqa: F401  (registers the models)
from dims_hf.evaluation.command import main


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
