# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A corpus for both directions of a language pair, with its tokenizer, from folders of parallel text.

`pairs/` (for students of one direction), `tokenizer/` and `both/` (for an autoregressive teacher, whose sources start
with a direction token such as `>>de<<`) are made one after the other, each moved into place when it is whole; a build
that was interrupted goes on with the first that is missing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dims_hf._files import read_json, read_lines
from dims_hf._output import holding, move, replacing

from . import augmentation
from .augmentation import Pair
from .filters import filter_pairs, mend_apostrophes
from .tokenizer import save_tokenizer, train_tokenizer


logger = logging.getLogger(__name__)

SETTINGS, REPORT = "settings.json", "report.json"

# What to do where one of them is damaged.
_AGAIN = "Choose another output_dir, or remove that one."


@dataclass
class CorpusSettings:
    """What [`build_corpus`] makes; shares are of the pairs of each folder."""

    data: list[Path] = field(metadata={"help": "Folders of train.en, train.de, valid.en, …"})
    output_dir: Path = field(metadata={"help": "Folder for pairs/, tokenizer/, both/ and report.json."})
    source_lang: str = field(default="en", metadata={"help": "Suffix of the first language's files."})
    target_lang: str = field(default="de", metadata={"help": "Suffix of the second language's files."})
    documents: list[str] = field(
        default_factory=lambda: ["europarl-en-de"],
        metadata={"help": "Names of folders whose lines follow each other in a document; others are shuffled first."},
    )
    vocab_size: int = field(default=12_000, metadata={"help": "Tokens of the joint vocabulary."})
    valid_size: int = field(default=500, metadata={"help": "Validation pairs of each folder."})
    joined: float = field(default=0.15, metadata={"help": "Neighbours joined to longer pairs."})
    case: float = field(default=0.04, metadata={"help": "Pairs copied in capitals or lower case."})
    numbers: float = field(default=4.0, metadata={"help": "Copies of a pair with numbers, with other numbers."})
    names: float = field(default=0.2, metadata={"help": "Pairs with names copied with other names."})
    placeholders: float = field(default=0.5, metadata={"help": "Pairs with names copied with placeholders."})
    addresses: float = field(default=0.02, metadata={"help": "Pairs about addresses, as placeholders (en-de only)."})
    max_words: int = field(default=100, metadata={"help": "Longest side of a pair in words."})
    max_ratio: float = field(default=2.5, metadata={"help": "Most words of one side per word of the other."})
    seed: int = field(default=1, metadata={"help": "Seed of everything drawn."})

    @property
    def languages(self) -> tuple[str, str]:
        """Source and target."""
        return self.source_lang, self.target_lang

    @property
    def direction_tokens(self) -> tuple[str, str]:
        """What a source starts with that is to be translated into the source or the target language."""
        return f">>{self.source_lang}<<", f">>{self.target_lang}<<"


def build_corpus(settings: CorpusSettings) -> dict[str, Any]:
    """
    Makes the corpus, or what is missing of it.

    Args:
        settings ([`CorpusSettings`]): the same settings and files give the same corpus, interrupted or not.

    Returns:
        `dict`: the report: pairs of each kind, pairs left out and why, tokens of the vocabulary. Also `report.json`.

    Raises:
        ValueError: if a folder has no such files, sides of unequal length, or the output folder holds a corpus with
            other settings or of other files.
    """
    output_dir = Path(settings.output_dir)
    parts = {
        folder: {split: _read(folder, split, settings) for split in ("train", "valid")} for folder in settings.data
    }
    with holding(output_dir):
        _check_settings(settings, parts)
        report_path = output_dir / REPORT
        counts: dict[str, Any] = read_json(report_path, _AGAIN) if report_path.is_file() else {}
        stages: dict[str, Callable[[Path], dict[str, Any]]] = {
            "pairs": lambda folder: _make_pairs(folder, parts, settings),
            "tokenizer": lambda folder: _make_tokenizer(folder, output_dir / "pairs", settings),
            "both": lambda folder: _make_both(folder, output_dir / "pairs", settings),
        }
        for name, make in stages.items():
            if not (output_dir / name).is_dir() or name not in counts:
                counts[name] = _make_whole(output_dir / name, make)
                _write_json(counts, report_path)
                logger.info("%s: %s", name, counts[name])
        return counts


def _make_whole(folder: Path, make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Fills a folder beside `folder` and moves it there."""
    partial = folder.with_name(f".{folder.name}.partial")
    for path in (partial, folder):
        shutil.rmtree(path, ignore_errors=True)
    partial.mkdir(parents=True)
    counts = make(partial)
    move(partial, folder)
    return counts


def _make_pairs(folder: Path, parts: dict[Path, dict[str, list[Pair]]], settings: CorpusSettings) -> dict[str, Any]:
    rng = random.Random(f"{settings.seed} pairs")
    pairs: list[Pair] = []
    made: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    held_out = [pair for part in parts.values() for pair in part["valid"]]
    held_out += [pair for path in parts for pair in _read(path, "test", settings, required=False)]
    for path, part in parts.items():
        kept, reasons = filter_pairs(
            _mended(part["train"], settings.languages),
            settings.languages,
            max_words=settings.max_words,
            max_ratio=settings.max_ratio,
            held_out=held_out,
        )
        masked = list(augmentation.mask_copied(kept))
        left_out += reasons + Counter(copied=len(kept) - len(masked))
        for kind, some in _augment(path.name, masked, settings, rng).items():
            made[kind] += len(some)
            pairs += some
    rng.shuffle(pairs)
    valid = [pair for part in parts.values() for pair in part["valid"][: settings.valid_size]]
    _write(folder, "train", pairs, settings.languages)
    _write(folder, "valid", valid, settings.languages)
    return {"train": dict(made), "valid": len(valid), "left_out": dict(left_out)}


def _mended(pairs: list[Pair], languages: tuple[str, str]) -> list[Pair]:
    if "en" not in languages:
        return pairs
    side = languages.index("en")
    return [tuple(mend_apostrophes(text) if at == side else text for at, text in enumerate(pair)) for pair in pairs]


def _augment(name: str, given: list[Pair], settings: CorpusSettings, rng: random.Random) -> dict[str, list[Pair]]:
    """The pairs of a folder, and what is made of them."""
    # Lines that are no document stand beside near-copies, which would teach a model to repeat itself.
    in_order = given if name in settings.documents else rng.sample(given, len(given))
    is_english_german = set(settings.languages) == {"en", "de"}
    num_addresses = round(settings.addresses * len(given)) if is_english_german else 0
    english_first = settings.source_lang == "en"
    return {
        name: given,
        "joined": list(augmentation.concatenate_neighbours(in_order, settings.joined, rng)),
        "case": list(augmentation.change_case(given, settings.case, rng)),
        "numbers": list(augmentation.vary_numbers(given, settings.numbers, rng)),
        "names": list(augmentation.vary_names(given, settings.names, rng)),
        "placeholders": list(augmentation.mask_names(given, settings.placeholders, rng)),
        "addresses": list(augmentation.place_addresses(num_addresses, rng, english_first=english_first)),
    }


def _make_tokenizer(folder: Path, pairs: Path, settings: CorpusSettings) -> dict[str, Any]:
    texts = [side for pair in _read(pairs, "train", settings) for side in pair]
    tokenizer = train_tokenizer(texts, settings.vocab_size, max_digits=3, direction_tokens=settings.direction_tokens)
    save_tokenizer(tokenizer, folder)
    return {"vocab_size": len(tokenizer)}


def _make_both(folder: Path, pairs: Path, settings: CorpusSettings) -> dict[str, Any]:
    rng = random.Random(f"{settings.seed} both")
    to_source, to_target = settings.direction_tokens
    counts = {}
    for split in ("train", "valid"):
        one_way = _read(pairs, split, settings)
        both = [(f"{to_target} {source}", target) for source, target in one_way]
        both += [(f"{to_source} {target}", source) for source, target in one_way]
        rng.shuffle(both)
        _write(folder, split, both, ("source", "target"))
        counts[split] = len(both)
    return counts


def _check_settings(settings: CorpusSettings, parts: dict[Path, dict[str, list[Pair]]]) -> None:
    """Refuses to mix two corpora in one folder; writes what this one is made of."""
    path = Path(settings.output_dir) / SETTINGS
    if not path.is_file() and (path.parent / REPORT).is_file():
        raise ValueError(
            f"{path.parent} holds a corpus without the {SETTINGS} that says how it was made, so it cannot be used "
            f"again. Put {SETTINGS} back, choose another output_dir, or remove that one."
        )
    values = json.loads(json.dumps(asdict(settings), default=str))
    values.pop("output_dir")
    values["data"] = {folder.name: _fingerprint(part) for folder, part in parts.items()}
    if path.is_file():
        before = _read_settings(path)
        changed = [name for name in {**values, **before} if values.get(name) != before.get(name)]
        if changed:
            raise ValueError(
                f"{path.parent} holds a corpus with another {' and '.join(changed)}. Choose another output_dir, or "
                "remove that one."
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_json(values, path)


def _read_settings(path: Path) -> dict[str, Any]:
    values = read_json(path, _AGAIN)
    if not isinstance(values, dict):
        raise ValueError(f"{path} is damaged: it holds no settings. {_AGAIN}")
    return values


def _fingerprint(part: dict[str, list[Pair]]) -> str:
    return hashlib.sha256(json.dumps(part, ensure_ascii=False).encode()).hexdigest()[:12]


def _read(folder: Path, split: str, settings: CorpusSettings, *, required: bool = True) -> list[Pair]:
    paths = [Path(folder) / f"{split}.{language}" for language in settings.languages]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing and not required:
        return []
    if missing:
        raise ValueError(f"There is no {' and no '.join(missing)}. Pass folders with train and valid files.")
    sides = [read_lines(path) for path in paths]
    if len(sides[0]) != len(sides[1]):
        raise ValueError(f"{paths[0]} has {len(sides[0])} lines, {paths[1]} {len(sides[1])}. Align them.")
    return [(source.strip(), target.strip()) for source, target in zip(*sides, strict=True)]


def _write(folder: Path, split: str, pairs: Sequence[Pair], suffixes: tuple[str, str]) -> None:
    for suffix, side in zip(suffixes, zip(*pairs, strict=True), strict=True):
        (folder / f"{split}.{suffix}").write_text("\n".join(side) + "\n", encoding="utf-8")


def _write_json(values: dict[str, Any], path: Path) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
