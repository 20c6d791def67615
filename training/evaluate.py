# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Evaluate a teacher and its student: `python training/evaluate.py --help`."""

import sys

from dims_hf.cli.main import main


if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
