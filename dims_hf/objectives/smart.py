# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""SMART: a model learns from its own predictions, some of them masked again.

Shapes: B batch, T target length, V vocabulary.
"""

from __future__ import annotations

import torch

from dims_hf.objectives.reduction import Loss, divide_by_items
from dims_hf.objectives.vocabulary import Vocabulary, as_vocabulary


def make_smart_inputs(
    targets: torch.Tensor,
    predictions: torch.Tensor,
    was_masked: torch.Tensor,
    is_masked: torch.Tensor,
    *,
    mask_token_id: int,
) -> torch.Tensor:
    """
    What the second pass sees: gold tokens where the first pass saw them, its predictions where it saw masks, and new
    masks over both.

    Source: Ghazvininejad et al. 2020 (arXiv 2001.08785), §3.

    Args:
        targets (`torch.LongTensor` of shape `(B, T)`): gold tokens.
        predictions (`torch.LongTensor` of shape `(B, T)`): of the first pass; read where it saw masks.
        was_masked (`torch.BoolTensor` of shape `(B, T)`): True where the first pass saw a mask.
        is_masked (`torch.BoolTensor` of shape `(B, T)`): True where the second one does; drawn independently.
        mask_token_id (`int`).

    Returns:
        `torch.LongTensor` of shape `(B, T)`.
    """
    return torch.where(was_masked, predictions, targets).masked_fill(is_masked, mask_token_id)


def smart_loss(
    logits: torch.Tensor | Vocabulary,
    labels: torch.Tensor,
    is_masked: torch.Tensor,
    *,
    label_smoothing: float = 0.1,
    num_items: tuple[torch.Tensor | int, torch.Tensor | int] | None = None,
) -> Loss:
    """
    Sum over all content tokens, masked or seen, of the label-smoothed cross-entropy, divided by their number: a token
    that is seen may be one of the model's own mistakes.

    Source: Ghazvininejad et al. 2020 (arXiv 2001.08785), §3.

    Args:
        logits (`torch.Tensor` of shape `(B, T, V)`, or [`Vocabulary`] of shape `(B, T)`): of the second pass.
        labels (`torch.LongTensor` of shape `(B, T)`): gold tokens at content, -100 elsewhere.
        is_masked (`torch.BoolTensor` of shape `(B, T)`): True where the second pass sees a mask.
        label_smoothing (`float`): ε in [0, 1).
        num_items (`tuple[int, int]`, *optional*): content tokens, and masked ones, of the whole update; default those
            of this batch.

    Returns:
        [`Loss`] with parts `token` (the loss) and `accuracy` (of masked tokens alone, so that it compares with a
        CMLM's). Nothing to learn gives exactly 0, with a gradient.
    """
    vocabulary, is_labelled = as_vocabulary(logits), labels != -100
    masked, seen = (
        vocabulary.select(is_labelled & chosen).cross_entropy(
            labels[is_labelled & chosen], label_smoothing=label_smoothing
        )
        for chosen in (is_masked, ~is_masked)
    )
    num_tokens, num_masked = (masked.num_items + seen.num_items, masked.num_items) if num_items is None else num_items
    total = divide_by_items(masked.summed + seen.summed, num_tokens)
    return Loss(total, {"token": total.detach(), "accuracy": divide_by_items(masked.num_correct, num_masked)})
