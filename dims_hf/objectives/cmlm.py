# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Masked-token cross-entropy of the conditional masked language model."""

import torch
from torch import nn

from dims_hf.objectives.reduction import Loss, divide_by_items


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
    """
    is_labelled = labels != -100
    targets = labels[is_labelled]
    selected = logits[is_labelled] if logits.shape[:-1] == labels.shape else logits
    num_items = targets.numel() if num_items is None else num_items
    summed = nn.functional.cross_entropy(selected.float(), targets, reduction="sum", label_smoothing=label_smoothing)
    total = divide_by_items(summed, num_items)
    num_correct = (selected.detach().argmax(dim=-1) == targets).sum()
    return Loss(total, {"token": total.detach(), "accuracy": divide_by_items(num_correct.float(), num_items)})
