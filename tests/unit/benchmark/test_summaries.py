# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Percentiles and ratios against numbers worked out by hand."""

from __future__ import annotations

import pytest

from dims_hf.benchmark.summaries import Range, percentile, ratio_range


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([3.0], 95, 3.0),
        ([4.0, 1.0, 2.0, 3.0, 5.0], 50, 3.0),
        ([1.0, 2.0, 3.0, 4.0], 50, 2.5),
        ([1.0, 2.0, 3.0, 4.0, 5.0], 95, 4.8),
        ([5.0, 1.0], 0, 1.0),
        ([5.0, 1.0], 100, 5.0),
    ],
)
def test_percentile(values: list[float], percent: float, expected: float):
    assert percentile(values, percent) == pytest.approx(expected)


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 101), ([1.0], -1)])
def test_percentile_of_nothing_or_beyond_100_raises(values: list[float], percent: float):
    with pytest.raises(ValueError, match="There is no percentile"):
        percentile(values, percent)


def test_ratio_range_pairs_rounds_so_that_drift_cancels():
    # the machine is half as fast in the second round; medians of latencies would give 4 / 2 = 2 as well as 6 / 1
    assert ratio_range([2.0, 4.0, 6.0], [1.0, 2.0, 1.0]) == Range(2.0, 2.0, 6.0)


def test_ratio_range_of_unequal_rounds_raises():
    with pytest.raises(ValueError, match="Rounds do not pair: 2 and 1"):
        ratio_range([1.0, 2.0], [1.0])


def test_range_shows_median_and_extremes():
    assert f"{Range(1.0, 1.254, 2.0)}" == "1.25× [1.00–2.00]"
