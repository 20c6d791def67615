# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Word alignments as three simple steps: source tokens are copied, copies reordered, neighbours joined.

Shapes: B batch, N target words, S source length, L copies, D hidden. An alignment A of shape (N, S) is G · P · D: D
(L, S) copies source tokens, P (L, L) reorders the copies, G (N, L) joins neighbours that belong to one target word.
"""

from typing import NamedTuple

import torch

from .ragged import find_real, find_width


class LinkSteps(NamedTuple):
    """
    An alignment in steps.

    Args:
        copies (`torch.LongTensor` of shape `(B, S)`): how often each source token is copied.
        order (`torch.LongTensor` of shape `(B, L)`): the copy that each place reads; copies are numbered in the order
            of their source tokens. 0 at padding.
        is_joined (`torch.BoolTensor` of shape `(B, L)`): whether a place belongs to the target word of its left
            neighbour; never the first.
        lengths (`torch.LongTensor` of shape `(B,)`): copies of each sentence.
    """

    copies: torch.Tensor
    order: torch.Tensor
    is_joined: torch.Tensor
    lengths: torch.Tensor


def split_links(links: torch.Tensor) -> LinkSteps:
    """
    The steps of alignments; places are in the order of target words, and of source tokens within a word.

    Source: Song et al. 2021 (AligNART, arXiv 2109.06481), §3.

    Args:
        links (`torch.BoolTensor` of shape `(B, N, S)`): True where a target word is aligned to a source token; padding
            has no links.
    """
    copies = links.sum(dim=1)
    first = copies.cumsum(dim=1) - copies
    # copies are numbered by source token first, then by target word: the running count within a token
    number = (first.unsqueeze(1) + links.cumsum(dim=1) - 1).flatten(1)
    word = torch.arange(links.shape[1], device=links.device).view(1, -1, 1).expand_as(links).flatten(1)
    lengths = copies.sum(dim=1)
    # links in row-major order: by target word, then by source token
    places = (~links.flatten(1)).long().argsort(dim=1, stable=True)[:, : find_width(lengths)]
    is_place = find_real(lengths, places.shape[1])
    order = number.gather(1, places).masked_fill(~is_place, 0)
    words = word.gather(1, places)
    is_joined = torch.zeros_like(is_place)
    is_joined[:, 1:] = (words[:, 1:] == words[:, :-1]) & is_place[:, 1:]
    return LinkSteps(copies, order, is_joined, lengths)


def copy_tokens(copies: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Where copies come from.

    Args:
        copies (`torch.LongTensor` of shape `(B, S)`): how often each source token is copied.

    Returns:
        the source token of each copy (B, L), which copy of it it is (B, L; from 0), and lengths (B,).
    """
    lengths = copies.sum(dim=1)
    place = torch.arange(find_width(lengths), device=copies.device)
    ends = copies.cumsum(dim=1)
    # the first token whose copies end beyond this place; clamped for padding, which finds none
    token = (ends.unsqueeze(1) <= place.view(1, -1, 1)).sum(dim=2).clamp(max=copies.shape[1] - 1)
    return token, place - (ends - copies).gather(1, token), lengths


def join_copies(states: torch.Tensor, is_joined: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """
    Means of the states of each target word's places.

    Args:
        states (`torch.FloatTensor` of shape `(B, L, D)`): of places.
        is_joined (`torch.BoolTensor` of shape `(B, L)`), lengths (`torch.LongTensor` of shape `(B,)`): see
            [`LinkSteps`].

    Returns:
        means (B, N, D), and target words of each sentence (B,).
    """
    is_place = find_real(lengths, states.shape[1])
    starts = is_place & ~is_joined
    # the first place begins a word whatever its joint says
    starts[:, 0] = is_place[:, 0]
    word = (starts.cumsum(dim=1) - 1).clamp(min=0)
    num_words = starts.sum(dim=1)
    width = find_width(num_words)
    weights = is_place.unsqueeze(2).to(states.dtype)
    sums = states.new_zeros(states.shape[0], width, states.shape[2])
    # padding adds 0 to the last word, wherever its index points
    sums = sums.scatter_add(1, word.unsqueeze(2).expand_as(states), states * weights)
    counts = states.new_zeros(states.shape[0], width, 1).scatter_add(1, word.unsqueeze(2), weights)
    return sums / counts.clamp(min=1), num_words


@torch.library.custom_op("dims_hf::assign_greedily", mutates_args=())
def assign_greedily(scores: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """
    From left to right each place takes the best copy that none before it has taken.

    One operator to compilers and exporters, which would unroll its loop.

    Args:
        scores (`torch.Tensor` of shape `(B, L, L)`): [b, r, c] of copy c at place r.
        lengths (`torch.LongTensor` of shape `(B,)`): copies of each sentence.

    Returns:
        `torch.LongTensor` of shape `(B, L)`: a permutation of each sentence's copies; 0 at padding.
    """
    is_copy = find_real(lengths, scores.shape[1])
    # padded copies are taken from the start
    is_taken, order = ~is_copy, []
    for place in range(scores.shape[1]):
        chosen = scores[:, place].masked_fill(is_taken, float("-inf")).argmax(dim=1)
        chosen = chosen.masked_fill(~is_copy[:, place], 0)
        column = chosen.unsqueeze(1)
        is_taken = is_taken.scatter(1, column, is_copy[:, place : place + 1] | is_taken.gather(1, column))
        order.append(chosen)
    return torch.stack(order, dim=1)


@assign_greedily.register_fake
def _(scores: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    return scores.new_empty(scores.shape[:2], dtype=torch.long)


__all__ = ["LinkSteps", "assign_greedily", "copy_tokens", "join_copies", "split_links"]
