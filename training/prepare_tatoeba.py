# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Make the Tatoeba corpus of the results here from public files, or a corpus split like it for another language pair.

`python training/prepare_tatoeba.py --pairs deu.txt … --split training/tatoeba_en_de.tsv --output_dir data/tatoeba`

Files are tab-separated, English first (manythings.org/anki: `deu-eng.zip`; further columns are ignored). The list of
`--split` names the held-out pairs by their keys; without it `--valid_size` and `--test_size` pairs are drawn by
`--seed`. Pairs that share a sentence never stand in two splits, and `valid.near`, `test.near` mark those within a word
of a training sentence.
"""

import argparse
import csv
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from dims_hf._commands import run_command
from dims_hf.data.augmentation import Pair
from dims_hf.data.filters import near_copies
from dims_hf.data.splitting import split_linked, split_listed


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, nargs="+", required=True, help="tab-separated files of pairs")
    parser.add_argument("--languages", nargs=2, default=("en", "de"), help="names of the first two columns")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for train, valid and test")
    parser.add_argument("--split", type=Path, help="list of held-out pairs: split and key, tab-separated")
    parser.add_argument("--valid_size", type=int, default=2000, help="validation pairs drawn without a list")
    parser.add_argument("--test_size", type=int, default=2000, help="test pairs drawn without a list")
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    args = parser.parse_args(argv)
    pairs = read_pairs(args.pairs)
    try:
        rows = (
            split_listed(pairs, read_split(args.split))
            if args.split
            else split_linked(pairs, args.valid_size, args.test_size, args.seed)
        )
    except ValueError as error:
        parser.error(str(error))
    splits = {name: [pairs[row] for row in part] for name, part in rows.items()}
    write_corpus(args.output_dir, splits, args.languages)
    print({name: len(part) for name, part in splits.items()})


def read_pairs(paths: Sequence[Path]) -> list[Pair]:
    """Different pairs in the order of the files, in NFC with single blanks."""
    pairs: dict[Pair, None] = {}
    for path in paths:
        for line in path.read_text(encoding="utf-8-sig").split("\n"):
            sides = [" ".join(unicodedata.normalize("NFC", side).split()) for side in line.split("\t")[:2]]
            if len(sides) == 2 and all(sides):
                pairs[sides[0], sides[1]] = None
    return list(pairs)


def read_split(path: Path) -> dict[str, list[str]]:
    """Keys of the held-out pairs of each split, in their order."""
    keys: dict[str, list[str]] = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as file:
        for split, key in csv.reader(file, delimiter="\t"):
            keys[split].append(key)
    return keys


def write_corpus(folder: Path, splits: dict[str, list[Pair]], languages: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, pairs in splits.items():
        for side, language in enumerate(languages):
            text = "".join(f"{pair[side]}\n" for pair in pairs)
            (folder / f"{name}.{language}").write_text(text, encoding="utf-8")
        if name != "train":
            marks = [
                near_copies([pair[side] for pair in pairs], (pair[side] for pair in splits["train"]))
                for side in (0, 1)
            ]
            near = "".join(f"{max(both)}\n" for both in zip(*marks, strict=True))
            (folder / f"{name}.near").write_text(near, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run_command(main))
