# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Numbers of revealed tokens: exact in the ratio's decimal."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from dims_hf.objectives import count_glances


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.5, [0, 0, 1, 1, 2, 3, 5]), (0.3, [0, 0, 0, 0, 1, 2, 3]), (0, [0] * 7), (1, None)]
)
def test_counts_are_the_hand_values(ratio, expected):
    wrong = [0, 1, 2, 3, 5, 7, 10]
    expected = wrong if expected is None else expected
    assert [count_glances(count, ratio) for count in wrong] == expected
    assert all(type(count_glances(count, ratio)) is int for count in wrong)
    for dtype in (torch.int64, torch.int32):
        glances = count_glances(torch.tensor([wrong], dtype=dtype), ratio)
        assert glances.tolist() == [expected] and glances.dtype == dtype


def test_counts_are_exact_where_binary_fractions_are_not():
    assert math.floor(0.7 * 90) == 62
    assert count_glances(90, 0.7) == 63 and count_glances(torch.tensor(90), 0.7).item() == 63
    for percent in range(101):
        ratio, counts = percent / 100, torch.arange(300)
        assert count_glances(counts, ratio).tolist() == [count * percent // 100 for count in range(300)]


def test_a_ratio_between_two_steps_of_a_schedule_counts_exactly():
    ratio = 0.5 - 0.2 * 12_345 / 300_000
    expected = [math.floor(Fraction(str(ratio)) * count) for count in range(2000)]
    assert count_glances(torch.arange(2000), ratio).tolist() == expected


@pytest.mark.parametrize("ratio", [-0.1, 1.1, math.nan, math.inf])
def test_a_ratio_outside_of_its_range_is_refused(ratio):
    with pytest.raises(ValueError, match="ratio must be in"):
        count_glances(3, ratio)


@pytest.mark.parametrize("count", [-1, 1.5, torch.tensor([1, -1]), torch.tensor([1.0])])
def test_a_count_that_is_none_is_refused(count):
    with pytest.raises(ValueError, match="num_wrong must be"):
        count_glances(count, 0.5)
