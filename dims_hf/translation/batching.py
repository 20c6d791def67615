# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Batches of rows of similar length, as many as a budget of padded tokens holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def batches_by_budget(sizes: Sequence[int], max_tokens_per_batch: int) -> Iterator[list[int]]:
    """Groups indices by size, longest first, so that rows × longest row stays within the budget.

    Longest first, because a batch that does not fit in memory then fails at once and not at the end.

    Args:
        sizes (`Sequence[int]`): tokens of each row.
        max_tokens_per_batch (`int`): padded tokens per batch; a longer row is a batch of its own.

    Raises:
        ValueError: `max_tokens_per_batch` < 1.
    """
    if max_tokens_per_batch < 1:
        raise ValueError(
            f"max_tokens_per_batch must be >= 1, got {max_tokens_per_batch}. Leave it out for a value that suits the "
            "device."
        )
    # longest first: a batch that does not fit into memory fails at once, and the first row of a batch is its longest
    order = sorted(range(len(sizes)), key=lambda index: -sizes[index])
    start = 0
    while start < len(order):
        count = max(1, max_tokens_per_batch // max(1, sizes[order[start]]))
        yield order[start : start + count]
        start += count
