# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Splits of a corpus in which one sentence has many translations, so that no sentence of either side is shared.

Pairs that share a source or a target (case and punctuation ignored) are linked, and so are those linked to these. A
linked group goes whole to one split.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence

from .augmentation import Pair
from .filters import comparable


def linked_groups(pairs: Sequence[Pair]) -> list[int]:
    """For each pair the first row of its linked group."""
    parent = list(range(len(pairs)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[tuple[int, tuple[str, ...]], int] = {}
    for row, pair in enumerate(pairs):
        for side, text in enumerate(pair):
            other = root(first.setdefault((side, comparable(text)), row))
            here = root(row)
            parent[max(here, other)] = min(here, other)
    return [root(row) for row in range(len(pairs))]


def split_linked(
    pairs: Sequence[Pair],
    num_valid: int,
    num_test: int,
    seed: int,
    *,
    min_words: int = 4,
    max_words: int = 40,
    max_group: int = 3,
) -> dict[str, list[int]]:
    """
    Draws held-out pairs, one out of a group.

    Args:
        pairs (`Sequence[Pair]`): without duplicates.
        num_valid, num_test (`int`): pairs wanted.
        seed (`int`): of the draw.
        min_words, max_words (`int`): length of held-out sentences, both sides.
        max_group (`int`): groups with more pairs stay in training; the rest of a held-out pair's group is dropped.

    Returns:
        `dict[str, list[int]]`: rows of `train` (ascending), `valid` and `test`.

    Raises:
        ValueError: if there are fewer fit groups than pairs wanted.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(linked_groups(pairs)):
        groups[group].append(row)
    fit = []
    for rows in groups.values():
        usable = [row for row in rows if all(min_words <= len(side.split()) <= max_words for side in pairs[row])]
        if usable and len(rows) <= max_group:
            fit.append((rows, usable))
    if len(fit) < num_valid + num_test:
        raise ValueError(
            f"Only {len(fit)} groups of at most {max_group} pairs have one of {min_words} to {max_words} words; "
            f"{num_valid} + {num_test} pairs were asked for. Ask for fewer."
        )
    rng = random.Random(seed)
    drawn = rng.sample(fit, num_valid + num_test)
    held_out = [rng.choice(usable) for _, usable in drawn]
    gone = {row for rows, _ in drawn for row in rows}
    train = [row for row in range(len(pairs)) if row not in gone]
    return {"train": train, "valid": held_out[:num_valid], "test": held_out[num_valid:]}


def split_listed(pairs: Sequence[Pair], listed: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """
    The split that a list of keys describes, so that others can make the same one from the same public files.

    Args:
        pairs (`Sequence[Pair]`): without duplicates.
        listed (`Mapping[str, Sequence[str]]`): split (`valid`, `test`) -> [`pair_key`] of its pairs, in their order.

    Returns:
        `dict[str, list[int]]`: rows of each split; `train` has all pairs that are linked to no listed one.

    Raises:
        ValueError: if a listed pair is not there.
    """
    rows = {pair_key(pair): row for row, pair in enumerate(pairs)}
    missing = {split: sum(key not in rows for key in keys) for split, keys in listed.items()}
    if any(missing.values()):
        counts = ", ".join(f"{number} of {len(listed[split])} {split} pairs" for split, number in missing.items())
        raise ValueError(f"{counts} are not in the files. Add the files they come from, or draw a new split.")
    split = {name: [rows[key] for key in keys] for name, keys in listed.items()}
    groups = linked_groups(pairs)
    gone = {groups[row] for part in split.values() for row in part}
    return {"train": [row for row in range(len(pairs)) if groups[row] not in gone], **split}


def pair_key(pair: Pair) -> str:
    """Sixteen hexadecimal digits that tell a pair from others."""
    return hashlib.sha256("\t".join(pair).encode()).hexdigest()[:16]
