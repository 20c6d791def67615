# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Masked-token and correction cross-entropy of CMLMC, and the prediction of masked source tokens."""

import torch

from dims_hf.objectives.reduction import Loss, divide_by_items
from dims_hf.objectives.vocabulary import RowSums, Vocabulary, as_vocabulary


REDUCTIONS = ("joint", "average")

Items = tuple[torch.Tensor | int, torch.Tensor | int]


def cmlmc_loss(
    masked_logits: torch.Tensor | Vocabulary,
    corrected_logits: torch.Tensor | Vocabulary,
    labels: torch.Tensor,
    is_masked: torch.Tensor,
    is_replaced: torch.Tensor,
    *,
    label_smoothing: float = 0.1,
    reduction: str = "joint",
    num_items: Items | None = None,
) -> Loss:
    """
    Cross-entropy (fp32) of the masked tokens, and of tokens the model has to correct.

    Source: Huang et al. 2022 (CMLMC), L_mask and L_corr. Their implementation averages the two means; the one that
    trained the teachers of Norouzi et al. 2023 (arXiv 2206.02999) takes one mean over both sets of tokens.

    Args:
        masked_logits (`torch.Tensor` of shape `(B, T, V)`, or packed `(M, V)` in row-major order, or [`Vocabulary`]):
            of the pass over the partially masked target.
        corrected_logits (`torch.Tensor` of shape `(B, T, V)`, or packed `(R, V)`, or [`Vocabulary`]): of the pass over
            the same target in which R revealed tokens are replaced by predictions.
        labels (`torch.LongTensor` of shape `(B, T)`): target ids at masked and replaced positions; -100 where no loss
            is wanted.
        is_masked (`torch.BoolTensor` of shape `(B, T)`): True for the M masked positions.
        is_replaced (`torch.BoolTensor` of shape `(B, T)`): True for the R replaced positions.
        label_smoothing (`float`): ε in [0, 1).
        reduction (`str`): `joint` is the mean over masked and replaced tokens together, `average` the average of the
            two means, of which an empty one does not count.
        num_items (`tuple[int, int]`, *optional*): masked and replaced tokens of the whole update; default those of
            this batch.

    Returns:
        [`Loss`] with parts `token` (the loss), `masked` and `corrected` (its two means) and `accuracy` (share of
        masked tokens predicted, in [0, 1]). Empty sets give exactly 0, with a gradient.

    Raises:
        ValueError: for an unknown reduction, or packed rows that do not number the selected positions.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}.")
    masked_sums = _summed_cross_entropy(masked_logits, labels, is_masked, label_smoothing)
    corrected_sums = _summed_cross_entropy(corrected_logits, labels, is_replaced, label_smoothing)
    num_masked, num_replaced = (masked_sums.num_items, corrected_sums.num_items) if num_items is None else num_items
    masked = divide_by_items(masked_sums.summed, num_masked)
    corrected = divide_by_items(corrected_sums.summed, num_replaced)
    if reduction == "joint":
        total = divide_by_items(masked_sums.summed + corrected_sums.summed, num_masked + num_replaced)
    else:
        # an empty set's mean is 0, and must not halve the other
        num_means = sum(torch.as_tensor(count > 0).long() for count in (num_masked, num_replaced))
        total = divide_by_items(masked + corrected, num_means)
    parts = {"token": total.detach(), "masked": masked.detach(), "corrected": corrected.detach()}
    return Loss(total, {**parts, "accuracy": divide_by_items(masked_sums.num_correct, num_masked)})


def encoder_prediction_loss(
    logits: torch.Tensor | Vocabulary,
    labels: torch.Tensor,
    *,
    label_smoothing: float = 0.1,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    Cross-entropy (fp32) of masked source tokens, predicted from the encoder's output through the tied embedding.

    Source: Guo et al. 2020 (JM-NAT), whose encoder is a masked language model too; the reference weighs it by 0.01.

    Args:
        logits (`torch.Tensor` of shape `(B, S, V)`, or packed `(M, V)` in row-major order, or [`Vocabulary`]): encoder
            states projected to the vocabulary.
        labels (`torch.LongTensor` of shape `(B, S)`, or `(M,)`): source ids where masked, -100 elsewhere.
        label_smoothing (`float`): ε in [0, 1).
        num_items (`int`, *optional*): masked source tokens of the whole update; default those of this batch.

    Returns:
        [`Loss`] with part `encoder`. Nothing masked gives exactly 0, with a gradient.

    Raises:
        ValueError: where packed rows do not number the labels.
    """
    sums = _summed_cross_entropy(logits, labels, labels != -100, label_smoothing)
    total = divide_by_items(sums.summed, sums.num_items if num_items is None else num_items)
    return Loss(total, {"encoder": total.detach()})


def _summed_cross_entropy(
    logits: torch.Tensor | Vocabulary,
    labels: torch.Tensor,
    is_selected: torch.Tensor,
    label_smoothing: float,
) -> RowSums:
    """Over the selected positions that have a label."""
    return (
        as_vocabulary(logits).select(is_selected).cross_entropy(labels[is_selected], label_smoothing=label_smoothing)
    )
