# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Train a teacher: `accelerate launch training/train_teacher.py RECIPE.yaml [--name value ...]`."""

import sys

from dims_hf.cli.main import main


if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
