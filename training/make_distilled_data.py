# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Distil a corpus: `accelerate launch training/make_distilled_data.py RECIPE.yaml [--name value ...]`."""

import sys

from dims_hf.cli.main import main


if __name__ == "__main__":
    sys.exit(main(["make-data", *sys.argv[1:]]))
