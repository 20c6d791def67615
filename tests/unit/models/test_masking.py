# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Masking: counts by hand, selection and collapsing."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from dims_hf.models.masking import (
    collapse_repeats,
    drop_tokens,
    find_content,
    remaining_masks,
    remaining_teacher_masks,
    select_lowest,
)


# (N, S) -> masks left after each of S passes
INFERENCE_COUNTS = {
    (7, 3): [4, 2, 0],
    (7, 10): [6, 5, 4, 4, 3, 2, 2, 1, 0, 0],
    (10, 4): [7, 5, 2, 0],
    (10, 10): [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    (3, 10): [2, 2, 2, 1, 1, 1, 0, 0, 0, 0],
    (1, 4): [0, 0, 0, 0],
    (20, 8): [17, 15, 12, 10, 7, 5, 2, 0],
    (5, 2): [2, 0],
    (13, 5): [10, 7, 5, 2, 0],
    (5, 1): [0],
    (0, 3): [0, 0, 0],
}

# (N, u, n) -> masks left after each of n teacher passes over a reference of N tokens with u masked
TEACHER_COUNTS = {
    (7, 7, 3): [5, 3, 0],
    (7, 5, 2): [3, 0],
    (10, 7, 2): [4, 0],
    (10, 7, 4): [6, 4, 2, 0],
    (4, 1, 2): [1, 0],
    (12, 3, 8): [3, 3, 2, 2, 2, 1, 1, 0],
    (20, 13, 4): [10, 7, 4, 0],
    (1, 1, 2): [1, 0],
    (3, 1, 2): [1, 0],  # truncating N·(1 − t/N) instead of rounding it gives 0
}


@pytest.mark.parametrize(("case", "expected"), INFERENCE_COUNTS.items())
def test_remaining_masks_follow_the_table(case: tuple[int, int], expected: list[int]):
    num_content, num_iterations = case
    counts = [
        remaining_masks(torch.tensor([num_content]), s, num_iterations).item() for s in range(1, num_iterations + 1)
    ]
    assert counts == expected


def test_remaining_masks_are_exact_where_floats_are_not():
    # ⌊N·(1 − s/S)⌋ in fp32 is off for some N from S = 12 on; exact fractions never are.
    for num_content, num_iterations in itertools.product(range(256), (12, 19, 20)):
        for s in range(1, num_iterations + 1):
            expected = math.floor(num_content * (num_iterations - s) / num_iterations + 1e-9)
            assert remaining_masks(torch.tensor(num_content), s, num_iterations).item() == expected


@pytest.mark.parametrize(("case", "expected"), TEACHER_COUNTS.items())
def test_remaining_teacher_masks_follow_the_table(case: tuple[int, int, int], expected: list[int]):
    _, num_masked, num_iterations = case
    passes = range(1, num_iterations + 1)
    counts = [remaining_teacher_masks(torch.tensor([num_masked]), s, num_iterations).item() for s in passes]
    assert counts == expected


def test_remaining_teacher_masks_reveal_the_floor_of_the_share():
    for num_masked, num_iterations in itertools.product(range(40), (1, 2, 3, 4, 8)):
        for s in range(1, num_iterations + 1):
            left = remaining_teacher_masks(torch.tensor(num_masked), s, num_iterations).item()
            assert num_masked - left == s * num_masked // num_iterations


def test_find_content_leaves_out_specials_but_not_masks():
    ids = torch.tensor([[0, 5, 4, 3, 2, 1, 1], [0, 2, 1, 1, 1, 1, 1]])
    expected = [[False, True, True, True, False, False, False], [False] * 7]
    assert find_content(ids, (0, 2, 1)).tolist() == expected


def test_select_lowest_takes_the_lowest_eligible_and_the_leftmost_of_equals():
    scores = torch.tensor([[-9.0, -1.0, -3.0, -3.0, -0.5, -9.0]])
    eligible = torch.tensor([[False, True, True, True, True, False]])
    for count, expected in {0: [], 1: [2], 2: [2, 3], 3: [1, 2, 3], 4: [1, 2, 3, 4], 9: [1, 2, 3, 4]}.items():
        selected = select_lowest(scores, eligible, torch.tensor([count]))
        assert selected.nonzero()[:, 1].tolist() == expected


def test_select_lowest_never_takes_the_ineligible_even_where_scores_saturate():
    # A confident token with log-probability 0 must not tie with `<s>` and padding, whose score is 0 too.
    scores = torch.zeros(1, 5)
    eligible = torch.tensor([[False, True, True, False, False]])
    assert select_lowest(scores, eligible, torch.tensor([1])).tolist() == [[False, True, False, False, False]]
    assert select_lowest(scores, eligible, torch.tensor([4])).tolist() == eligible.tolist()


def test_ties_go_to_the_leftmost_in_long_rows_too():
    # Rows long enough for an unstable sort to show.
    selected = select_lowest(torch.zeros(2, 200), torch.ones(2, 200, dtype=torch.bool), torch.tensor([70, 3]))
    assert selected.tolist() == [[column < 70 for column in range(200)], [column < 3 for column in range(200)]]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([0, 5, 5, 6, 6, 6, 5, 2, 2], [0, 5, 6, 5, 2, 1, 1, 1, 1]),
        ([0, 5, 6, 2, 1, 1, 1, 1, 1], [0, 5, 6, 2, 1, 1, 1, 1, 1]),
        ([0, 7, 7, 2, 1, 1, 1, 1, 1], [0, 7, 2, 1, 1, 1, 1, 1, 1]),
        ([0, 2, 1, 1, 1, 1, 1, 1, 1], [0, 2, 1, 1, 1, 1, 1, 1, 1]),
        ([0, 9, 9, 9, 9, 9, 9, 9, 2], [0, 9, 2, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_collapse_repeats_keeps_one_of_each_run(tokens: list[int], expected: list[int]):
    assert collapse_repeats(torch.tensor([tokens, tokens]), 1).tolist() == [expected, expected]


def test_collapse_repeats_equals_groupby_on_random_rows():
    rows = torch.randint(5, 8, (20, 200), generator=torch.Generator().manual_seed(0))
    for row, collapsed in zip(rows.tolist(), collapse_repeats(rows, 1).tolist(), strict=True):
        kept = [token for token, _ in itertools.groupby(row)]
        assert collapsed == kept + [1] * (200 - len(kept))


# N source tokens -> shares of the numbers of masks 1, 2, …


def test_dropped_tokens_leave_no_gap():
    tokens = torch.tensor([[0, 9, 7, 9, 9, 8, 2, 1], [0, 9, 9, 2, 1, 1, 1, 1], [0, 5, 6, 7, 8, 7, 6, 2]])
    expected = [[0, 7, 8, 2, 1, 1, 1, 1], [0, 2, 1, 1, 1, 1, 1, 1], [0, 5, 6, 7, 8, 7, 6, 2]]
    assert drop_tokens(tokens, 9, 1).tolist() == expected
