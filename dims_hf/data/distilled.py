# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Sequence-level distilled corpora: beam search over training sources in shards, filters with counts, JSONL files.

What a shard holds depends on its sources, the teacher and the settings alone, whichever process writes it, and when.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.utils import logging

from dims_hf._output import remove_debris, replacing

from .beam_search import BeamTranslator, TranslatedRow
from .corpora import SIDE_COLUMNS
from .tokenizer import SPECIAL_TOKENS


if TYPE_CHECKING:
    from datasets import Dataset

SHARD_SETTINGS = "settings.json"

DROP_REASONS = ("too_long", "empty", "special_token", "length_ratio", "copy")
"""Why a pair is left out, in the order they are asked; a pair counts under the first one that holds."""

# Up to this many tokens on the longer side a ratio of lengths says little: "No." may well be "Auf keinen Fall!".
_RATIO_FROM = 10

# A training set that shares more than this with a held-out set (of the smaller of the two) holds that set.
_MOST_SHARED = 0.5


# ---- shards -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TranslationShards:
    """
    The translations of one split as files of `shard_size` rows, each written whole or not at all.

    Args:
        folder (`Path`): where the files are.
        split (`str`): first part of their names.
        num_rows (`int`): sources of the split.
        shard_size (`int`): rows of a file; the last may have fewer.

    Raises:
        ValueError: no rows, or `shard_size` < 1.
    """

    folder: Path
    split: str
    num_rows: int
    shard_size: int

    def __post_init__(self) -> None:
        if self.shard_size < 1 or self.num_rows < 1:
            raise ValueError(f"shard_size={self.shard_size} and {self.num_rows} rows: both must be >= 1.")

    def __len__(self) -> int:
        return math.ceil(self.num_rows / self.shard_size)

    def path(self, shard: int) -> Path:
        """File of a shard."""
        return self.folder / f"{self.split}-{shard:05d}-of-{len(self):05d}.jsonl"

    def rows(self, shard: int) -> range:
        """Rows of the split that a shard holds."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.num_rows))

    def missing(self) -> list[int]:
        """Shards that are not there yet."""
        return [shard for shard in range(len(self)) if not self.path(shard).is_file()]

    def translate(
        self, sources: Sequence[str], translator: BeamTranslator, shards: Iterable[int], *, progress: bool = False
    ) -> None:
        """
        Writes some of the shards.

        Args:
            sources (`Sequence[str]`): the split's sources.
            translator ([`BeamTranslator`]): the teacher.
            shards (`Iterable[int]`): which; with several processes, each has its own.
            progress (`bool`, *optional*, defaults to `False`): show a bar on standard error.
        """
        shards = list(shards)
        total = sum(len(self.rows(shard)) for shard in shards)
        with logging.tqdm(total=total, desc=f"translate {self.split}", unit=" sentences", disable=not progress) as bar:
            for shard in shards:
                rows = translator([sources[row] for row in self.rows(shard)], bar.update)
                lines = (json.dumps(row.to_json(), ensure_ascii=False) for row in rows)
                write_lines(self.path(shard), lines)

    def read(self) -> list[TranslatedRow]:
        """
        All rows, in the order of the split.

        Raises:
            ValueError: a shard that is missing, or has other rows than it should.
        """
        found: list[TranslatedRow] = []
        for shard in range(len(self)):
            path = self.path(shard)
            if not path.is_file():
                raise ValueError(f"There is no {path}. Run the same command again to translate what is missing.")
            lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
            if len(lines) != len(self.rows(shard)):
                raise ValueError(
                    f"{path} has {len(lines)} rows and should have {len(self.rows(shard))}. Delete it, and run the "
                    "same command again."
                )
            try:
                found.extend(TranslatedRow.from_json(json.loads(line)) for line in lines)
            except (ValueError, TypeError):
                raise ValueError(f"{path} is damaged. Delete it, and run the same command again.") from None
        return found


def check_shard_settings(folder: str | Path, settings: Mapping[str, Any]) -> None:
    """
    Refuses a folder with translations made otherwise.

    Raises:
        ValueError: naming what differs.
    """
    path = Path(folder) / SHARD_SETTINGS
    if not path.is_file():
        return
    theirs = json.loads(path.read_text(encoding="utf-8"))
    # A setting that only one of them knows came with another release.
    differing = [name for name in settings if name in theirs and theirs[name] != settings[name]]
    if differing:
        had, says = (", ".join(f"{name}={each[name]}" for name in differing) for each in (theirs, settings))
        raise ValueError(
            f"{folder} holds translations with {had}, this recipe says {says}. Choose another output_dir, or delete "
            "it."
        )


def save_shard_settings(folder: str | Path, settings: Mapping[str, Any]) -> None:
    """Writes the settings beside the shards, and removes what a killed process left half-written."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    remove_debris(folder)
    write_lines(folder / SHARD_SETTINGS, [json.dumps(settings, indent=1)])


# ---- from shards to a corpus --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairFilter:
    """
    Which translations are good enough to learn from. Too long, empty and unreadable ones never are.

    Args:
        max_length_ratio (`float`, *optional*, defaults to 3.0): most tokens of the longer side per token of the
            shorter, where the longer has more than ten; `None` for no limit.
        drop_copies (`bool`, *optional*, defaults to `True`): leave out translations equal to their source but for
            case.

    Raises:
        ValueError: a ratio below 1.
    """

    max_length_ratio: float | None = 3.0
    drop_copies: bool = True

    def __post_init__(self) -> None:
        if self.max_length_ratio is not None and self.max_length_ratio < 1:
            raise ValueError(f"max_length_ratio must be >= 1, got {self.max_length_ratio}. The default is 3.")

    def reason(self, source: str, row: TranslatedRow) -> str | None:
        """Why the pair is left out, one of `DROP_REASONS`, or `None`."""
        if row.text is None:
            return "too_long"
        checks = {
            "empty": not row.text,
            "too_long": not row.is_complete,
            "special_token": any(token in row.text for token in SPECIAL_TOKENS),
            "length_ratio": self._is_lopsided(row),
            "copy": self.drop_copies and _folded(source) == _folded(row.text),
        }
        return next((reason for reason in DROP_REASONS if checks[reason]), None)

    def alternatives(self, source: str, row: TranslatedRow) -> list[str]:
        """Texts of the alternatives that are good enough, best first."""
        rows = (
            TranslatedRow(each.text, row.source_tokens, each.target_tokens, each.is_complete)
            for each in row.alternatives
        )
        return [each.text for each in rows if each.text is not None and self.reason(source, each) is None]

    def _is_lopsided(self, row: TranslatedRow) -> bool:
        shorter, longer = sorted((row.source_tokens, row.target_tokens))
        too_many = self.max_length_ratio is not None and longer > self.max_length_ratio * shorter
        return too_many and longer > _RATIO_FROM


def filter_rows(
    sources: Sequence[str], rows: Sequence[TranslatedRow], pair_filter: PairFilter
) -> tuple[list[int], dict[str, int]]:
    """
    Rows that stay, and how many were left out for each of `DROP_REASONS`.

    Raises:
        ValueError: nothing stays.
    """
    dropped, kept = dict.fromkeys(DROP_REASONS, 0), []
    for index, (source, row) in enumerate(zip(sources, rows, strict=True)):
        reason = pair_filter.reason(source, row)
        if reason is None:
            kept.append(index)
        else:
            dropped[reason] += 1
    if not kept:
        counts = ", ".join(f"{reason} {count}" for reason, count in dropped.items() if count)
        raise ValueError(
            f"All {len(rows)} translations were left out ({counts}). Look at the shards: the teacher may be "
            "untrained, or set to other languages."
        )
    return kept, dropped


def check_split(split: str) -> None:
    """
    Refuses to distil what models are judged by.

    Raises:
        ValueError: another split than `train`.
    """
    if split != "train":
        raise ValueError(
            f"The {split} split is not distilled: against a teacher's translations a score measures agreement with "
            "the teacher. Leave out split; valid and test are copied as they are."
        )


def check_held_out(corpus: Mapping[str, Dataset]) -> dict[str, int]:
    """
    Refuses a training split that is a held-out one under another name.

    Args:
        corpus (`Mapping[str, Dataset]`): all splits.

    Returns:
        `dict[str, int]`: held-out split to the number of its rows whose source is a training source, too.

    Raises:
        ValueError: more than half of the smaller of the two sets is in the other.
    """
    training = set(corpus["train"]["source"])
    shared = {}
    for name in (name for name in corpus if name != "train"):
        held_out = set(corpus[name]["source"])
        shared[name] = sum(source in training for source in corpus[name]["source"])
        if len(held_out & training) > _MOST_SHARED * min(len(held_out), len(training)):
            raise ValueError(
                f"{len(held_out & training)} of the {len(held_out)} sources of the {name} split are training sources: "
                "the training split looks like a held-out set, which is not distilled. Correct the paths, or take "
                "those pairs out of it."
            )
    return shared


def write_split(folder: str | Path, split: str, columns: Mapping[str, Sequence[Any]]) -> None:
    """Writes `split.jsonl` as `load_corpus` and `datasets.load_dataset` read it: an object for every row."""
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    write_lines(Path(folder) / f"{split}.jsonl", (json.dumps(row, ensure_ascii=False) for row in rows))


def columns_of(rows: Dataset, targets: Sequence[str], source_lang: str, target_lang: str) -> dict[str, list]:
    """The columns of a split, with other targets, under the names that translation data sets have on the Hub."""
    pairs = zip(rows["source"], targets, strict=True)
    columns = {"translation": [{source_lang: source, target_lang: target} for source, target in pairs]}
    return {**columns, **{name: list(rows[name]) for name in SIDE_COLUMNS if name in rows.column_names}}


def sources_fingerprint(sources: Iterable[str]) -> str:
    """Twelve hexadecimal digits that change with any source or their order."""
    return hashlib.sha256(json.dumps(list(sources)).encode()).hexdigest()[:12]


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes a text file under another name and moves it into place, so that it is whole or not there."""
    with replacing(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
