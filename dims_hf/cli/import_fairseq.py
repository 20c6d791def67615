# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf import-fairseq CHECKPOINT.pt DICT.txt OUT_DIR`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dims_hf._files import expand_home
from dims_hf._output import holding
from dims_hf.cli.parsing import CommandParser


def main(argv: Sequence[str]) -> None:
    """Convert a fairseq checkpoint and its dictionary into a folder that `from_pretrained` reads."""
    purpose = (
        "Convert a fairseq checkpoint to the transformers format: CMLM, CMLMC, Imputer, levenshtein_transformer, "
        "insertion_transformer, nacrf_transformer, or DA-Transformer's glat_decomposed_link."
    )
    parser = CommandParser("import-fairseq", purpose)
    parser.add_argument("checkpoint", metavar="CHECKPOINT.pt", help="fairseq checkpoint")
    parser.add_argument("dictionary", metavar="DICT.txt", help="fairseq dictionary of the joint vocabulary")
    parser.add_argument("out_dir", metavar="OUT_DIR", help="folder to write; must be absent or empty")
    parser.add_argument(
        "--attention-heads",
        type=int,
        nargs="+",
        metavar="N",
        help="heads of every layer, or of encoder and decoder, for a checkpoint without arguments",
    )
    parser.add_argument(
        "--no-legacy",
        action="store_true",
        help="never predict the mask or a special token, never attend to padding; else as in the reference, whose "
        "outputs stay the same",
    )
    arguments = parser.parse_words(argv)
    heads = arguments.attention_heads
    if heads is not None and len(heads) > 2:
        raise ValueError(f"--attention-heads takes one number or two (encoder, decoder), got {len(heads)}.")
    out_dir = expand_home(arguments.out_dir)

    from dims_hf.data import save_tokenizer
    from dims_hf.export import import_fairseq_checkpoint
    from dims_hf.export.folders import making_folder, move_folder

    with holding(out_dir, beside=True):
        if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
            raise ValueError(f"{out_dir} is not an empty folder. Name a new one, so that nothing is overwritten.")
        model, tokenizer, _ = import_fairseq_checkpoint(
            arguments.checkpoint,
            arguments.dictionary,
            attention_heads=heads and (heads[0], heads[-1]),
            legacy=not arguments.no_legacy,
        )
        with making_folder(out_dir) as partial:
            folder = Path(partial, "imported")
            model.save_pretrained(folder)
            save_tokenizer(tokenizer, folder)
            move_folder(folder, out_dir)
    sys.stdout.write(f"wrote {type(model).__name__} with {model.num_parameters():,} parameters to {out_dir}\n")
