# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Objective of a bigram field over the likeliest tokens of each position.

Shapes: B batch, T target length (with `<s>` and `</s>`), M masked positions, C candidates, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from dims_hf.models.crf import crf_nll
from dims_hf.objectives.reduction import Loss, divide_by_items
from dims_hf.objectives.vocabulary import Vocabulary, as_vocabulary


def crf_loss(
    logits: torch.Tensor | Vocabulary,
    targets: torch.Tensor,
    is_masked: torch.Tensor,
    lengths: torch.Tensor,
    make_transitions: Callable[[torch.Tensor], torch.Tensor],
    *,
    num_candidates: int = 64,
    suppressed_ids: Sequence[int] = (),
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    Sum over sentences of −log p(targets | what is not masked), divided by `num_items`: exp(score) of the target over
    that of all sequences of candidates.

    A masked position has the target and the likeliest other tokens as candidates, so that the sum over sequences is at
    least the target's own score, and at most that of all sequences: the loss is never negative, and too small where
    others matter. Positions that are not masked have one candidate, the target.

    Source: Sun et al. 2019 (arXiv 1910.11555), eq. 5–7 and §3.4, with its list of candidates as in fairseq's code.
    There all positions are masked, and the mean is over sentences of the loss per token.

    Args:
        logits (`torch.Tensor` of shape `(B, T, V)`, or packed `(M, V)`, or [`Vocabulary`]): decoder output.
        targets (`torch.LongTensor` of shape `(B, T)`): whole targets, right-padded with anything.
        is_masked (`torch.BoolTensor` of shape `(B, T)`): True for the M positions to predict.
        lengths (`torch.LongTensor` of shape `(B,)`): tokens of each target.
        make_transitions (`Callable`): candidates (B, T, C) to transitions (B, T − 1, C, C), see [`crf_nll`].
        num_candidates (`int`): C.
        suppressed_ids (`Sequence[int]`): ids that are no candidates.
        num_items (`int`, *optional*): masked tokens of the whole update; default: M.

    Returns:
        [`Loss`] with part `chain`. Nothing masked gives 0, with a gradient.
    """
    vocabulary = as_vocabulary(logits).select(is_masked)
    ids = vocabulary.top(min(num_candidates, vocabulary.vocab_size), suppressed_ids, first=targets[is_masked])
    candidates = targets.unsqueeze(2).repeat(1, 1, ids.shape[1])
    candidates[is_masked] = ids
    # log-probabilities instead of logits: a constant per position changes no likelihood of a chain
    picked = vocabulary.pick(ids)
    if suppressed_ids:  # they fill up lists of vocabularies that are hardly larger than the list
        is_closed = torch.isin(ids[:, 1:], torch.tensor(list(suppressed_ids), device=ids.device))
        picked = torch.cat([picked[:, :1], picked[:, 1:].masked_fill(is_closed, float("-inf"))], dim=1)
    emissions = picked.new_full(candidates.shape, float("-inf"))
    # the target is candidate 0 of every position, and the only one where nothing is masked
    emissions[..., 0] = 0.0
    emissions = emissions.index_put((is_masked,), picked)
    transitions = make_transitions(candidates)
    nll = crf_nll(emissions, transitions, torch.zeros_like(targets), lengths)
    num_items = is_masked.sum() if num_items is None else num_items
    total = divide_by_items(nll.sum(), num_items)
    return Loss(total, {"chain": total.detach()})
