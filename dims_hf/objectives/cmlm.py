# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Masked-token cross-entropy of the conditional masked language model."""

import torch

from dims_hf.objectives.reduction import Loss, divide_by_items
from dims_hf.objectives.vocabulary import Vocabulary, as_vocabulary


def cmlm_loss(
    logits: torch.Tensor | Vocabulary,
    labels: torch.Tensor,
    *,
    label_smoothing: float = 0.1,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    Sum over masked tokens of the label-smoothed cross-entropy (fp32), divided by `num_items`.

    Source: Ghazvininejad et al. 2019, §2; smoothing as the reference: (1 − ε)·NLL + ε·mean over the vocabulary.

    Args:
        logits (`torch.Tensor` of shape `(B, T, V)` or `(M, V)`, or [`Vocabulary`] of shape `(B, T)` or `(M,)`): full,
            or packed at the labelled positions.
        labels (`torch.LongTensor` of shape `(B, T)` or `(M,)`): target ids, -100 where no loss is wanted.
        label_smoothing (`float`): ε in [0, 1).
        num_items (`int`, *optional*): masked tokens of the whole update; default those of this batch.

    Returns:
        [`Loss`] with parts `token` (the loss) and `accuracy` (share of labelled tokens predicted, in [0, 1]).
        Nothing labelled gives exactly 0, with a gradient.

    Raises:
        ValueError: where packed rows do not number the labels.
    """
    is_labelled = labels != -100
    sums = (
        as_vocabulary(logits).select(is_labelled).cross_entropy(labels[is_labelled], label_smoothing=label_smoothing)
    )
    num_items = sums.num_items if num_items is None else num_items
    total = divide_by_items(sums.summed, num_items)
    return Loss(total, {"token": total.detach(), "accuracy": divide_by_items(sums.num_correct, num_items)})
