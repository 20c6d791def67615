# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Masked-token cross-entropy of the conditional masked language model."""

import torch
from torch import nn

from dims_hf.objectives.reduction import Loss, divide_by_items, masked_accuracy, select_positions


def cmlm_loss(
    logits: torch.Tensor,
    labels: torch.LongTensor,
    *,
    label_smoothing: float = 0.1,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    Sum over masked tokens of the label-smoothed cross-entropy (fp32), divided by `num_items`.

    Source: Ghazvininejad et al. 2019, §2; smoothing as the reference: (1 − ε)·NLL + ε·mean over the vocabulary.

    Args:
        logits (`torch.Tensor` of shape `(B, T, V)` or `(M, V)`): full, or packed at the labelled positions.
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
    targets = labels[is_labelled]
    selected = select_positions(logits, is_labelled)
    num_items = targets.numel() if num_items is None else num_items
    summed = nn.functional.cross_entropy(selected.float(), targets, reduction="sum", label_smoothing=label_smoothing)
    total = divide_by_items(summed, num_items)
    return Loss(total, {"token": total.detach(), "accuracy": masked_accuracy(selected, targets, num_items)})
