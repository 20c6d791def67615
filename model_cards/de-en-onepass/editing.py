# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Tensor operations on sequences that grow and shrink in their middle: deletions, gaps, insertions.

Shapes: B batch, T length (with `<s>` and `</s>`), L length afterwards. Sequences are padded on the right; gap i lies
between token i and token i + 1.
"""

import torch

from .ragged import find_real, find_width


def delete_tokens(is_deleted: torch.Tensor, *parts: tuple[torch.Tensor, int | float]) -> tuple[torch.Tensor, ...]:
    """
    Takes positions out and closes ranks.

    Args:
        is_deleted (`torch.BoolTensor` of shape `(B, T)`): positions to take out.
        parts (`tuple`): tensors (B, T), each with what fills the end of its rows.

    Returns:
        `tuple[torch.Tensor, ...]`: the tensors (B, T).
    """
    # a stable sort keeps the order of what stays and moves the rest behind it
    order = is_deleted.long().argsort(dim=1, stable=True)
    return tuple(values.masked_fill(is_deleted, fill).gather(1, order) for values, fill in parts)


def find_places(counts: torch.Tensor) -> torch.Tensor:
    """
    Where tokens are once gaps have been filled.

    Args:
        counts (`torch.LongTensor` of shape `(B, T - 1)`): how many are inserted into each gap.

    Returns:
        `torch.LongTensor` of shape `(B, T)`.
    """
    # what is inserted before a token: its own gap, which is after it, does not count
    before = torch.nn.functional.pad(counts, (1, 0)).cumsum(dim=1)
    return before + torch.arange(before.shape[1], device=counts.device)


def open_gaps(counts: torch.Tensor, lengths: torch.Tensor, *parts: tuple[torch.Tensor, int | float]) -> tuple:
    """
    Makes room in gaps.

    Args:
        counts (`torch.LongTensor` of shape `(B, T - 1)`): how many are inserted into each gap; 0 after the last token.
        lengths (`torch.LongTensor` of shape `(B,)`): tokens of each row.
        parts (`tuple`): tensors (B, T), each with what fills gaps and the end of rows.

    Returns:
        The tensors (B, L), where gaps are (B, L; True), and new lengths (B,).
    """
    new_lengths = lengths + counts.sum(dim=1)
    # one transfer from the device; the shape of the result depends on it
    width = find_width(new_lengths)
    is_token = find_real(lengths, counts.shape[1] + 1)
    # what is no token goes to a column that is cut off
    places = find_places(counts).masked_fill(~is_token, width)
    is_new = find_real(new_lengths, width + 1).scatter(1, places, False)[:, :width]
    moved = tuple(
        values.new_full((values.shape[0], width + 1), fill).scatter_(1, places, values)[:, :width]
        for values, fill in parts
    )
    return *moved, is_new, new_lengths


def spread_over_gaps(is_new: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """
    What belongs to gaps, at the places that they have become.

    Args:
        is_new (`torch.BoolTensor` of shape `(B, L)`): where gaps are, of [`open_gaps`].
        values (`torch.Tensor` of shape `(B, T - 1)`): of each gap.

    Returns:
        `torch.Tensor` of shape `(B, L)`: at new places the value of their gap, anything elsewhere.
    """
    # a gap has the number of the old token before it; padding counts on, beyond the last gap
    gap = (~is_new).long().cumsum(dim=1) - 1
    return values.gather(1, gap.clamp(max=values.shape[1] - 1))


def find_changed(
    old: torch.Tensor, new: torch.Tensor, old_lengths: torch.Tensor, new_lengths: torch.Tensor
) -> torch.Tensor:
    """
    Which rows differ in length or in a token.

    Args:
        old (`torch.LongTensor` of shape `(B, T)`), new (`torch.LongTensor` of shape `(B, L)`): rows, right-padded.
        old_lengths, new_lengths (`torch.LongTensor` of shape `(B,)`): their tokens.

    Returns:
        `torch.BoolTensor` of shape `(B,)`.
    """
    # only rows of one length are compared, and those have no token beyond the narrower of the two
    column = torch.arange(new.shape[1], device=old.device)
    is_other = (old[:, column.clamp(max=old.shape[1] - 1)] != new) & find_real(new_lengths, new.shape[1])
    return (old_lengths != new_lengths) | is_other.any(dim=1)


def limit_counts(counts: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """
    As many insertions as there is room for, the leftmost gaps first.

    Args:
        counts (`torch.LongTensor` of shape `(B, T - 1)`): wanted insertions.
        allowed (`torch.LongTensor` of shape `(B,)`): most insertions of each row.
    """
    # clamping the running total cuts insertions from the right
    total = counts.cumsum(dim=1).clamp(max=allowed.clamp(min=0).unsqueeze(1))
    return total.diff(dim=1, prepend=torch.zeros_like(total[:, :1]))


def count_gaps(is_kept: torch.Tensor, is_token: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    What is missing where some tokens are left out.

    Args:
        is_kept (`torch.BoolTensor` of shape `(B, T)`): tokens that stay, the first and the last of a row among them.
        is_token (`torch.BoolTensor` of shape `(B, T)`): all tokens.

    Returns:
        missing tokens in each gap of what is kept (B, T - 1; 0 beyond), and the gap (B, T) that each token falls into:
        of those that stay, the one after them.
    """
    # number of the last token that was kept, and so of the gap right of it
    gap = is_kept.long().cumsum(dim=1) - 1
    is_missing = is_token & ~is_kept
    counts = torch.zeros_like(gap).scatter_add_(1, gap.clamp(min=0), is_missing.long())
    # after the last token there is no gap
    return counts[:, :-1], gap


__all__ = [
    "count_gaps",
    "delete_tokens",
    "find_changed",
    "find_places",
    "limit_counts",
    "open_gaps",
    "spread_over_gaps",
]
