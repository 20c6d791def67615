# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Train autoregressively: `accelerate launch training/train_autoregressive.py RECIPE.yaml [--name value ...]`."""

import sys

from dims_hf.cli.main import main


if __name__ == "__main__":
    sys.exit(main(["train-autoregressive", *sys.argv[1:]]))
