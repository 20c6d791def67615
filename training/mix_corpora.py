# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Train on several corpora at once, e.g. a distilled one and the raw one it was made from.

`python training/mix_corpora.py --data data/en-de-distilled --copies data/en-de/pairs --source_lang en --target_lang de
--output_dir data/en-de-mixed` writes every different training pair once, in random order, and the held-out pairs of
the first corpus. What translating copies (addresses, numbers) is a placeholder on both sides; pairs whose sides have
different ones are left out. English has its detached apostrophes joined ("the Commission' s", as a teacher learns from
Europarl). `--long_copies 3` writes pairs whose target has at least `--long_words` words three times: where most pairs
are short, a model is slow to learn long ones. `--without data/tatoeba-de-en/test.de …` leaves out pairs with a
sentence of these files: translations of training sentences may be held-out ones by chance.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from dims_hf._commands import run_command
from dims_hf.data import load_corpus
from dims_hf.data.augmentation import mask_copied
from dims_hf.data.beam_search import one_line
from dims_hf.data.filters import mend_apostrophes
from dims_hf.models.copied_text import PLACEHOLDERS


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, help="corpora, as training takes them")
    parser.add_argument(
        "--copies", nargs="*", default=[], help="corpora whose pairs with placeholders are added: teachers copy badly"
    )
    parser.add_argument("--source_lang", required=True, help="source language: file suffix or key")
    parser.add_argument("--target_lang", required=True, help="target language")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for train, valid (and test) files")
    parser.add_argument("--long_copies", type=positive, default=1, help="times that a long pair is written")
    parser.add_argument("--long_words", type=positive, default=20, help="words from which on a target is long")
    parser.add_argument(
        "--without", nargs="*", type=Path, default=[], help="text files; pairs with one of their lines are left out"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the order")
    args = parser.parse_args(argv)
    if odd := [str(path) for path in args.without if path.suffix in (".jsonl", ".json", ".parquet")]:
        parser.error(f"--without takes text files with a sentence on each line, got {', '.join(odd)}")
    corpora = [
        load_corpus(data, args.source_lang, args.target_lang, required=("train",) if number else ("train", "valid"))
        for number, data in enumerate([*args.data, *args.copies])
    ]
    languages = (args.source_lang, args.target_lang)
    without = {line for path in args.without for line in path.read_text(encoding="utf-8").split("\n")}
    kept = [
        # looked for before numbers become placeholders, which held-out sentences do not have
        mask_copied(mended(pair, languages) for pair in pairs_of(corpus["train"]) if without.isdisjoint(pair))
        for corpus in corpora
    ]
    whole, copies = (chain.from_iterable(some) for some in (kept[: len(args.data)], kept[len(args.data) :]))
    different = dict.fromkeys(chain(whole, filter(has_placeholder, copies)))
    pairs = [pair for pair in different for _ in range(args.long_copies if is_long(pair, args.long_words) else 1)]
    held_out = {name: pairs_of(part) for name, part in corpora[0].items() if name != "train"}
    splits = {"train": random.Random(args.seed).sample(pairs, len(pairs)), **held_out}
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for name, part in splits.items():
        for side, language in enumerate(languages):
            text = "".join(f"{pair[side]}\n" for pair in part)
            (args.output_dir / f"{name}.{language}").write_text(text, encoding="utf-8")
    print({name: len(part) for name, part in splits.items()})


def pairs_of(split) -> list[tuple[str, str]]:  # noqa: ANN001  (a data set, whose library is slow to import)
    # a line break inside a text would end its line
    return [
        (one_line(source), one_line(target)) for source, target in zip(split["source"], split["target"], strict=True)
    ]


def is_long(pair: tuple[str, str], words: int) -> bool:
    return len(pair[1].split()) >= words


def positive(text: str) -> int:
    """A type of argparse: the text as a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


def has_placeholder(pair: tuple[str, str]) -> bool:
    return any(sign in pair[0] for sign in PLACEHOLDERS)


def mended(pair: tuple[str, str], languages: tuple[str, str]) -> tuple[str, str]:
    source, target = (
        mend_apostrophes(text) if language == "en" else text for text, language in zip(pair, languages, strict=True)
    )
    return source, target


if __name__ == "__main__":
    sys.exit(run_command(main))
