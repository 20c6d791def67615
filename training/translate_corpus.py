# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Translate a corpus: `accelerate launch training/translate_corpus.py --model MODEL --input FILE --output-dir DIR`."""

import sys

from dims_hf.cli.main import main


if __name__ == "__main__":
    sys.exit(main(["translate-corpus", *sys.argv[1:]]))
