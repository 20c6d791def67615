# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Make the English-German corpus of the shipped models: `python training/prepare_en_de.py --output_dir data/en-de …`.

Folders of `train.en`, `train.de`, `valid.en`, … (Tatoeba and Europarl) become one corpus for both directions with one
tokenizer: `both/` for an autoregressive teacher, whose sources start with `>>de<<` or `>>en<<`, `pairs/` for students.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from pathlib import Path

from dims_hf.data import save_tokenizer, train_tokenizer
from dims_hf.data.augmentation import (
    Pair,
    change_case,
    concatenate_neighbours,
    is_plausible,
    mask_names,
    vary_numbers,
)


LANGUAGES = ("en", "de")
DIRECTION_TOKENS = tuple(f">>{language}<<" for language in LANGUAGES)


def main() -> None:
    args = parse_arguments()
    rng = random.Random(args.seed)
    parts = {folder.name: read_pairs(folder, "train") for folder in args.data}
    pairs, counts = augment(parts, args, rng)
    rng.shuffle(pairs)
    valid = [pair for folder in args.data for pair in read_pairs(folder, "valid")[: args.valid_size]]
    tokenizer = train_tokenizer(
        [side for pair in pairs for side in pair], args.vocab_size, max_digits=3, direction_tokens=DIRECTION_TOKENS
    )
    save_tokenizer(tokenizer, args.output_dir / "tokenizer")
    for split, part in (("train", pairs), ("valid", valid)):
        write_pairs(args.output_dir / "pairs", split, part, LANGUAGES)
        write_pairs(args.output_dir / "both", split, in_both_directions(part, rng), ("source", "target"))
    report = {"seed": args.seed, "train": dict(counts), "valid": len(valid), "vocab_size": len(tokenizer)}
    (args.output_dir / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of train.en, train.de, …")
    parser.add_argument(
        "--documents", nargs="*", default=["europarl-en-de"], help="folders whose lines make documents"
    )
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for corpora and tokenizer")
    parser.add_argument("--vocab_size", type=int, default=12_000, help="tokens of the joint vocabulary")
    parser.add_argument("--valid_size", type=int, default=500, help="validation pairs of each folder")
    parser.add_argument("--joined", type=float, default=0.15, help="neighbours joined, as a share of the pairs")
    parser.add_argument("--case", type=float, default=0.04, help="pairs copied in capitals or lower case")
    parser.add_argument(
        "--numbers", type=float, default=4.0, help="copies of each pair with numbers, with other numbers"
    )
    parser.add_argument("--names", type=float, default=0.5, help="pairs copied with placeholders for names")
    parser.add_argument("--seed", type=int, default=1, help="seed of all of it")
    return parser.parse_args()


def read_pairs(folder: Path, split: str) -> list[Pair]:
    sides = [(folder / f"{split}.{language}").read_text(encoding="utf-8").splitlines() for language in LANGUAGES]
    return [pair for pair in zip(*sides, strict=True) if is_plausible(pair)]


def augment(parts: dict[str, list[Pair]], args: argparse.Namespace, rng: random.Random) -> tuple[list[Pair], Counter]:
    pairs, counts = [], Counter()
    for name, given in parts.items():
        # Lines that are no document stand beside near-copies, which would teach a model to repeat itself.
        in_order = given if name in args.documents else rng.sample(given, len(given))
        made = {
            name: given,
            "joined": list(concatenate_neighbours(in_order, args.joined, rng)),
            "case": list(change_case(given, args.case, rng)),
            "numbers": list(vary_numbers(given, args.numbers, rng)),
            "names": list(mask_names(given, args.names, rng)),
        }
        for kind, some in made.items():
            counts[kind] += len(some)
            pairs += some
    return pairs, counts


def in_both_directions(pairs: list[Pair], rng: random.Random) -> list[Pair]:
    to_en, to_de = DIRECTION_TOKENS
    both = [(f"{to_de} {english}", german) for english, german in pairs]
    both += [(f"{to_en} {german}", english) for english, german in pairs]
    rng.shuffle(both)
    return both


def write_pairs(folder: Path, split: str, pairs: list[Pair], suffixes: tuple[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, side in zip(suffixes, zip(*pairs, strict=True), strict=True):
        (folder / f"{split}.{suffix}").write_text("\n".join(side) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
