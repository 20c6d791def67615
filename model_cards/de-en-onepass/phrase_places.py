# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Where forced phrases go, from what each start costs; without torch, so that exported graphs place them alike."""

from __future__ import annotations

from collections.abc import Sequence


def find_places(gains: Sequence[Sequence[float]], lengths: Sequence[int], num_positions: int) -> list[int]:
    """
    Start of each phrase, so that they do not overlap and the sum of their gains is greatest.

    Args:
        gains (`Sequence[Sequence[float]]`): of each phrase, what it gains at every start that leaves room.
        lengths (`Sequence[int]`): tokens of each phrase; together at most `num_positions`.
        num_positions (`int`): places for tokens.

    Returns:
        `list[int]`: position of each phrase's first token.
    """
    # best[subset]: the greatest sum with the phrases of `subset` placed before the current position, and where.
    best: list[dict[int, tuple[float, tuple[tuple[int, int], ...]]]] = [{0: (0.0, ())}]
    for end in range(1, num_positions + 1):
        # nothing ends here: all that was placed before stays possible
        current = dict(best[-1])
        for index, length in enumerate(lengths):
            start = end - length
            if start < 0:
                continue
            for subset, (total, places) in best[start].items():
                # subsets as bits; at most 2⁸ of them
                key, candidate = subset | 1 << index, total + gains[index][start]
                if key != subset and (key not in current or candidate > current[key][0]):
                    current[key] = candidate, (*places, (index, start))
        best.append(current)
    # of all phrases, back in the order they were given in
    return [start for _, start in sorted(best[-1][2 ** len(lengths) - 1][1])]


__all__ = ["find_places"]
