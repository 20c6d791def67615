# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Sequence-level distilled corpora: which translations are kept, with counts, and the JSONL files they go into."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dims_hf._output import replacing

from .beam_search import TranslatedRow
from .corpora import SIDE_COLUMNS
from .tokenizer import SPECIAL_TOKENS


if TYPE_CHECKING:
    from datasets import Dataset

DROP_REASONS = ("too_long", "empty", "special_token", "length_ratio", "copy")
"""Why a pair is left out, in the order they are asked; a pair counts under the first one that holds."""

# Up to this many tokens on the longer side a ratio of lengths says little: "No." may well be "Auf keinen Fall!".
_RATIO_FROM = 10

# A training set that shares more than this with a held-out set (of the smaller of the two) holds that set.
_MOST_SHARED = 0.5


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
        # of the smaller: a small training set inside a large test set is found too
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
