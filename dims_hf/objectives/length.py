# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Cross-entropy of the length predictor."""

import torch
from torch import nn

from dims_hf.objectives.reduction import Loss, divide_by_items


def length_classes(target_attention_mask: torch.Tensor, num_classes: int) -> torch.Tensor:
    """
    Length class of each target: its tokens, `<s>` and `</s>` counted, clamped to the last class.

    Args:
        target_attention_mask (`torch.Tensor` of shape `(B, T)`): non-zero for tokens.
        num_classes (`int`): classes of the predictor (256: lengths 0 … 255).

    Returns:
        `torch.LongTensor` of shape `(B,)`.
    """
    return target_attention_mask.ne(0).sum(dim=1).clamp(max=num_classes - 1)


def length_loss(
    length_logits: torch.Tensor, target_lengths: torch.Tensor, *, num_items: torch.Tensor | int | None = None
) -> Loss:
    """
    Sum of the sentences' length cross-entropies (fp32, no label smoothing), divided by `num_items`.

    Source: length predictor of Norouzi et al. 2023; the reference weighs this term by 0.1.

    Args:
        length_logits (`torch.Tensor` of shape `(B, C)`): one logit per length class.
        target_lengths (`torch.LongTensor` of shape `(B,)`): classes, see [`length_classes`].
        num_items (`int`, *optional*): sentences of the whole update; default B.

    Returns:
        [`Loss`] with part `length`.
    """
    num_items = target_lengths.numel() if num_items is None else num_items
    total = divide_by_items(
        nn.functional.cross_entropy(length_logits.float(), target_lengths, reduction="sum"), num_items
    )
    return Loss(total, {"length": total.detach()})
