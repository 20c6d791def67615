# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Tensor operations on masked targets: which positions are content, how many stay masked, and collapsing repeats.

Shapes: B batch, T target length (with `<s>` and `</s>`). Polarity: True = content, True = masked.
"""

import torch


def find_content(token_ids: torch.Tensor, special_token_ids: tuple[int, ...]) -> torch.Tensor:
    """
    Positions that hold sentence content: everything but `<s>`, `</s>` and padding.

    Args:
        token_ids (`torch.LongTensor` of shape `(B, T)`): targets; masks count as content.
        special_token_ids (`tuple[int, ...]`): ids that are never content.

    Returns:
        `torch.BoolTensor` of shape `(B, T)`.
    """
    is_content = torch.ones_like(token_ids, dtype=torch.bool)
    for special in special_token_ids:
        is_content &= token_ids != special
    return is_content


def remaining_masks(num_content: torch.Tensor, num_passes: int, num_iterations: int) -> torch.Tensor:
    """
    Masks left after `num_passes` of `num_iterations` passes: ⌊N (S − s) / S⌋, in exact integers.

    Source: linear schedule of Mask-Predict (Ghazvininejad et al. 2019, §3) as the reference counts it.

    Args:
        num_content (`torch.LongTensor` of shape `(B,)`): content tokens N of each sentence.
        num_passes (`int`): passes done, 1 … num_iterations.
        num_iterations (`int`): passes in all.
    """
    return num_content * (num_iterations - num_passes) // num_iterations


def remaining_teacher_masks(num_masked: torch.Tensor, num_passes: int, num_iterations: int) -> torch.Tensor:
    """
    Masks left after `num_passes` teacher passes over a partially masked reference: ⌈u (n − s) / n⌉.

    Source: §3.1 of Norouzi et al. 2023: after step s, ⌊s·u/n⌋ of the u masked tokens are revealed.

    Args:
        num_masked (`torch.LongTensor` of shape `(B,)`): tokens u masked in the reference.
        num_passes (`int`): passes done, 1 … num_iterations.
        num_iterations (`int`): teacher passes n in all.
    """
    # not the same as ⌊u (n − s) / n⌋: the floor is on what is revealed, and the rest rounds up
    return num_masked - num_masked * num_passes // num_iterations


def select_lowest(scores: torch.Tensor, is_eligible: torch.Tensor, num_selected: torch.Tensor) -> torch.Tensor:
    """
    The `num_selected` eligible positions with the lowest scores of each row; ties go to the leftmost.

    Args:
        scores (`torch.Tensor` of shape `(B, T)`): floating point or integer.
        is_eligible (`torch.BoolTensor` of shape `(B, T)`): positions that may be selected.
        num_selected (`torch.LongTensor` of shape `(B,)`): at most the row's number of eligible positions is taken.

    Returns:
        `torch.BoolTensor` of shape `(B, T)`.
    """
    highest = float("inf") if scores.is_floating_point() else torch.iinfo(scores.dtype).max
    order = scores.masked_fill(~is_eligible, highest).argsort(dim=1, stable=True)
    rank = torch.arange(order.shape[1], device=order.device).expand_as(order)
    # the inverse permutation: rank of each position instead of position of each rank
    ranks = torch.empty_like(order).scatter_(1, order, rank)
    # more may be asked for than is eligible; what is not eligible is never taken
    return (ranks < num_selected.unsqueeze(1)) & is_eligible


def rank_by_score(scores: torch.Tensor, is_content: torch.Tensor) -> torch.Tensor:
    """
    Rank of each content position's score in its row, the highest having rank 0; ties go to the leftmost.

    Args:
        scores (`torch.Tensor` of shape `(B, T)`): floating point.
        is_content (`torch.BoolTensor` of shape `(B, T)`): positions that are ranked.

    Returns:
        `torch.LongTensor` of shape `(B, T)`: 0 … N − 1 at content, -1 elsewhere.
    """
    order = scores.masked_fill(~is_content, -torch.inf).argsort(dim=1, descending=True, stable=True)
    # What is no content comes last even where a score is -inf itself.
    order = order.gather(1, (~is_content).gather(1, order).long().argsort(dim=1, stable=True))
    rank = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, rank).masked_fill(~is_content, -1)


def see_surer(ranks: torch.Tensor) -> torch.Tensor:
    """
    Which positions each one sees in parallel easy-first: those of lower rank.

    Source: Kasai et al. 2020 (DisCo, arXiv 2001.05136), §3.2.

    Args:
        ranks (`torch.LongTensor` of shape `(B, T)`): from [`rank_by_score`].

    Returns:
        `torch.BoolTensor` of shape `(B, T, T)`: [b, i, j] where i sees j.
    """
    return ranks.unsqueeze(1) < ranks.unsqueeze(2)


def rank_in_blocks(scores: torch.Tensor, is_eligible: torch.Tensor, block_sizes: torch.Tensor) -> torch.Tensor:
    """
    Rank of each position's score within its block, the lowest having rank 0; ties go to the leftmost.

    Args:
        scores (`torch.Tensor` of shape `(B, A)`): floating point or integer.
        is_eligible (`torch.BoolTensor` of shape `(B, A)`): positions that are ranked; the others come after them.
        block_sizes (`torch.LongTensor` of shape `(B,)`): positions of each row's blocks, the first of which starts at
            column 0; rows are padded on the right.

    Returns:
        `torch.LongTensor` of shape `(B, A)`: a rank below the number of eligible positions of the block at each of
            them.
    """
    highest = float("inf") if scores.is_floating_point() else torch.iinfo(scores.dtype).max
    block = find_blocks(scores.shape[1], block_sizes)
    order = scores.masked_fill(~is_eligible, highest).argsort(dim=1, stable=True)
    # Sorted by block in the end, and by score inside of it.
    order = order.gather(1, block.gather(1, order).argsort(dim=1, stable=True))
    rank = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, rank) - block * block_sizes.unsqueeze(1)


def find_blocks(width: int, block_sizes: torch.Tensor) -> torch.Tensor:
    """Number of the block that each of `width` columns is in, blocks of `block_sizes` (B,): (B, width)."""
    return torch.arange(width, device=block_sizes.device) // block_sizes.unsqueeze(1)


def collapse_repeats(
    token_ids: torch.Tensor, pad_token_id: int, is_forced: torch.Tensor | None = None
) -> torch.Tensor:
    """
    Drops every token that equals its right neighbour (keeps the last of each run) and closes the gaps.

    Source: the reference's deduplication, applied to its scores always; here an option.

    Args:
        token_ids (`torch.LongTensor` of shape `(B, T)`): sequences, right-padded.
        pad_token_id (`int`): fills the freed positions at the end.
        is_forced (`torch.BoolTensor` of shape `(B, T)`, *optional*): two neighbours that are both forced both stay.

    Returns:
        `torch.LongTensor` of shape `(B, T)`, still right-padded.
    """
    keep = torch.ones_like(token_ids, dtype=torch.bool)
    keep[:, :-1] = token_ids[:, :-1] != token_ids[:, 1:]
    if is_forced is not None:
        keep[:, :-1] |= is_forced[:, :-1] & is_forced[:, 1:]
    return _close_gaps(token_ids, keep, pad_token_id)


def drop_tokens(token_ids: torch.Tensor, dropped_id: int, pad_token_id: int) -> torch.Tensor:
    """
    Drops every token `dropped_id` and closes the gaps.

    Args:
        token_ids (`torch.Tensor` of shape `(B, T)`): sequences, right-padded.
        dropped_id (`int`): the token.
        pad_token_id (`int`): fills the freed positions at the end.

    Returns:
        `torch.Tensor` of shape `(B, T)`, still right-padded.
    """
    return _close_gaps(token_ids, token_ids != dropped_id, pad_token_id)


def _close_gaps(token_ids: torch.Tensor, keep: torch.Tensor, pad_token_id: int) -> torch.Tensor:
    # False sorts before True, and a stable sort keeps the order of what stays
    order = (~keep).long().argsort(dim=1, stable=True)
    return token_ids.masked_fill(~keep, pad_token_id).gather(1, order)
