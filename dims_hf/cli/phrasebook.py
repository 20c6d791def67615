# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf phrasebook`: look at the embedded corpus, or write it as text files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dims_hf._output import holding, replacing
from dims_hf.cli.parsing import CommandParser


def main(argv: Sequence[str]) -> None:
    """Show a few sources with all their valid targets, or write `train.en`, `train.de`, `valid.*` and `test.*`."""
    arguments = _make_parser().parse_words(argv)
    for name in ("show", "train", "valid", "test"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name} must be at least 1, got {getattr(arguments, name)}.")
    if arguments.out is None:
        _show(arguments.show, arguments.seed)
    else:
        sizes = {"train": arguments.train, "valid": arguments.valid, "test": arguments.test}
        _write(Path(arguments.out), sizes, arguments.seed)


def _make_parser() -> CommandParser:
    parser = CommandParser("phrasebook", "Show samples of the embedded English-German corpus, or write the corpus.")
    parser.add_argument(
        "--show", type=int, default=5, metavar="N", help="sources to show, each with all its valid targets"
    )
    parser.add_argument("--out", metavar="DIR", help="write the corpus there instead, as train.en, train.de and so on")
    parser.add_argument("--train", type=int, default=20_000, metavar="N", help="training pairs to write")
    parser.add_argument("--valid", type=int, default=500, metavar="N", help="validation pairs to write")
    parser.add_argument("--test", type=int, default=500, metavar="N", help="test pairs to write")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other sentences")
    return parser


def _show(count: int, seed: int) -> None:
    from dims_hf.phrasebook import phrasebook_corpus, valid_targets

    for source, _ in phrasebook_corpus(train=1, valid=1, test=count, seed=seed)["test"]:
        targets = sorted(valid_targets(source))
        sys.stdout.write(f"{source}\n" + "".join(f"    {target}\n" for target in targets))


def _write(folder: Path, sizes: dict[str, int], seed: int) -> None:
    from dims_hf.phrasebook import PHRASEBOOK_LANGUAGES, phrasebook_corpus

    with holding(folder):
        for split, pairs in phrasebook_corpus(**sizes, seed=seed).items():
            for language, sentences in zip(PHRASEBOOK_LANGUAGES, zip(*pairs)):
                with replacing(folder / f"{split}.{language}") as temporary:
                    temporary.write_text("".join(sentence + "\n" for sentence in sentences), encoding="utf-8")
            sys.stdout.write(f"{folder / split}.{{{','.join(PHRASEBOOK_LANGUAGES)}}}: {len(pairs)} pairs\n")
