# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Repeated neighbours: the visible trace of target tokens predicted without seeing each other."""

from __future__ import annotations

from collections.abc import Sequence


def repetition_rate(sentences: Sequence[Sequence[int]]) -> dict[str, float]:
    """How many tokens repeat, to be measured before repeats are collapsed.

    Args:
        sentences (`Sequence[Sequence[int]]`): content token ids of each sentence (`Translation.raw_token_ids`).

    Returns:
        `dict[str, float]`: `repeated_tokens`, the share of tokens equal to their right neighbour among all tokens, and
        `repeated_sentences`, the share of sentences with at least one (both 0 to 1, 0 where there is nothing).
    """
    counts = [sum(left == right for left, right in zip(ids, ids[1:], strict=False)) for ids in sentences]
    num_tokens = sum(len(ids) for ids in sentences)
    return {
        "repeated_tokens": sum(counts) / max(1, num_tokens),
        "repeated_sentences": sum(count > 0 for count in counts) / max(1, len(counts)),
    }
