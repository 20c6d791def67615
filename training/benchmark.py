# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Speed of models against autoregressive peers: `python training/benchmark.py --help`."""

import sys

from dims_hf.cli.main import main


if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
