# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf import-fairseq CHECKPOINT.pt DICT.txt OUT_DIR`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dims_hf.cli.parsing import CommandParser


def main(argv: Sequence[str]) -> None:
    """Convert a fairseq checkpoint and its dictionary into a folder that `from_pretrained` reads."""
    parser = CommandParser("import-fairseq", "Convert a fairseq CMLM checkpoint to the transformers format.")
    parser.add_argument("checkpoint", metavar="CHECKPOINT.pt", help="fairseq checkpoint")
    parser.add_argument("dictionary", metavar="DICT.txt", help="fairseq dictionary of the joint vocabulary")
    parser.add_argument("out_dir", metavar="OUT_DIR", help="folder to write; must be absent or empty")
    arguments = parser.parse_words(argv)
    for path in (arguments.checkpoint, arguments.dictionary):
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path} does not exist. Give the checkpoint, then its dict.txt, then the folder.")
    out_dir = Path(arguments.out_dir)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise ValueError(f"{out_dir} is not an empty folder. Name a new one, so that nothing is overwritten.")

    from dims_hf.data import save_tokenizer
    from dims_hf.export import import_fairseq_checkpoint

    model, tokenizer, _ = import_fairseq_checkpoint(arguments.checkpoint, arguments.dictionary)
    model.save_pretrained(out_dir)
    save_tokenizer(tokenizer, out_dir)
    sys.stdout.write(f"wrote {type(model).__name__} with {model.num_parameters():,} parameters to {out_dir}\n")
