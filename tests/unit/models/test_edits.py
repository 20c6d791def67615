# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Edit scripts: known ones, and their properties on random sequences."""

from __future__ import annotations

import itertools

import pytest
import torch

from dims_hf.models.edits import edit_oracle


# source, target, deletions, insertions; the second has two shortest scripts and fixes the choice
SCRIPTS = [
    ("acd", "abce", [0, 0, 1], ["", "b", "e"]),
    ("aba", "bab", [1, 0, 0], ["", "", "b"]),
    ("", "ab", [], ["ab"]),
    ("abc", "c", [1, 1, 0], ["", ""]),
    ("abc", "", [1, 1, 1], [""]),
    ("", "", [], [""]),
    ("ab", "ab", [0, 0], ["", "", ""]),
    ("a", "b", [1], ["b"]),
    ("a", "aa", [0], ["", "a"]),
]


def to_ids(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def apply_script(source: list[int], deletions: list[int], insertions: list[list[int]]) -> list[int]:
    kept = [token for token, is_deleted in zip(source, deletions) if not is_deleted]
    assert len(insertions) == len(kept) + 1
    return insertions[0] + [token for pair in zip(kept, insertions[1:]) for token in (pair[0], *pair[1])]


def longest_common_subsequence(source: list[int], target: list[int]) -> int:
    """By trying all subsequences of the source."""

    def is_subsequence(part: tuple[int, ...]) -> bool:
        rest = iter(target)
        return all(token in rest for token in part)

    sizes = range(len(source), -1, -1)
    return next(size for size in sizes if any(map(is_subsequence, itertools.combinations(source, size))))


@pytest.mark.parametrize(("source", "target", "deletions", "insertions"), SCRIPTS)
def test_scripts_of_the_table(source: str, target: str, deletions: list[int], insertions: list[str]):
    found = edit_oracle(to_ids(source), to_ids(target))
    assert found == (deletions, [to_ids(words) for words in insertions])


def test_scripts_turn_the_source_into_the_target_with_the_fewest_edits():
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        lengths = torch.randint(0, 7, (2,), generator=generator).tolist()
        source, target = (torch.randint(0, 3, (length,), generator=generator).tolist() for length in lengths)
        deletions, insertions = edit_oracle(source, target)
        assert apply_script(source, deletions, insertions) == target
        edits = sum(deletions) + sum(map(len, insertions))
        assert edits == len(source) + len(target) - 2 * longest_common_subsequence(source, target)


def test_tensors_and_tuples_are_sequences_too():
    expected = edit_oracle([1, 2, 3], [1, 3, 3])
    assert edit_oracle(torch.tensor([1, 2, 3]), torch.tensor([1, 3, 3])) == expected
    assert edit_oracle((1, 2, 3), (1, 3, 3)) == expected


def test_batches_are_refused():
    with pytest.raises(ValueError, match=r"target_ids must be of shape \(L,\)"):
        edit_oracle([1], torch.zeros(2, 3).long())
