# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Percentiles of latencies, and ratios of two systems taken round by round."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Range(NamedTuple):
    """Smallest, middle and largest of a few values."""

    low: float
    median: float
    high: float

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec or '.2f'}}× [{self.low:{spec or '.2f'}}–{self.high:{spec or '.2f'}}]"


def percentile(values: Sequence[float], percent: float) -> float:
    """
    The value below which `percent` of the values lie, linear between neighbours.

    Args:
        values (`Sequence[float]`): at least one.
        percent (`float`): 0 to 100.

    Raises:
        ValueError: no values, or a percentage outside 0 to 100.
    """
    if not values or not 0 <= percent <= 100:
        raise ValueError(f"There is no percentile {percent} of {len(values)} values. Give values, and 0 to 100.")
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def ratio_range(slower: Sequence[float], faster: Sequence[float]) -> Range:
    """
    How many times faster one system is than another: ratios of latencies that were measured in the same round.

    The machine drifts between rounds and hardly within one, so that a ratio of two medians would mix the two.

    Args:
        slower, faster (`Sequence[float]`): one latency per round, in the order of the rounds.

    Raises:
        ValueError: different numbers of rounds, or none.
    """
    if len(slower) != len(faster) or not slower:
        raise ValueError(f"Rounds do not pair: {len(slower)} and {len(faster)}. Compare systems of one group.")
    ratios = [one / other for one, other in zip(slower, faster, strict=True)]
    return Range(min(ratios), statistics.median(ratios), max(ratios))
