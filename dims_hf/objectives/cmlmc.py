# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Masked-token and correction cross-entropy of CMLMC, and the prediction of masked source tokens."""

import torch
from torch import nn

from dims_hf.objectives.reduction import Loss, divide_by_items, masked_accuracy, select_positions


REDUCTIONS = ("joint", "average")

Items = tuple[torch.Tensor | int, torch.Tensor | int]


def cmlmc_loss(
    masked_logits: torch.Tensor,
    corrected_logits: torch.Tensor,
    labels: torch.LongTensor,
    is_masked: torch.BoolTensor,
    is_replaced: torch.BoolTensor,
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
        masked_logits (`torch.Tensor` of shape `(B, T, V)`, or packed `(M, V)` in row-major order): of the pass over
            the partially masked target.
        corrected_logits (`torch.Tensor` of shape `(B, T, V)`, or packed `(R, V)`): of the pass over the same target
            in which R revealed tokens are replaced by predictions.
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
    masked_rows, masked_targets = _labelled_rows(masked_logits, labels, is_masked)
    corrected_rows, corrected_targets = _labelled_rows(corrected_logits, labels, is_replaced)
    if num_items is None:
        num_items = masked_targets.numel(), corrected_targets.numel()
    sums = (
        _summed_cross_entropy(masked_rows, masked_targets, label_smoothing),
        _summed_cross_entropy(corrected_rows, corrected_targets, label_smoothing),
    )
    return combine_cmlmc(sums, masked_accuracy(masked_rows, masked_targets, 1), num_items, reduction)


def combine_cmlmc(
    sums: tuple[torch.Tensor, torch.Tensor], num_correct: torch.Tensor, num_items: Items, reduction: str
) -> Loss:
    """
    [`cmlmc_loss`] from the summed cross-entropies of masked and of replaced tokens.

    Args:
        sums (`tuple[torch.Tensor, torch.Tensor]`): over masked and over replaced tokens.
        num_correct (`torch.Tensor`): masked tokens predicted.
        num_items (`tuple[int, int]`): masked and replaced tokens of the whole update.
        reduction (`str`): `joint` or `average`.

    Raises:
        ValueError: for an unknown reduction.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}.")
    masked, corrected = (divide_by_items(summed, count) for summed, count in zip(sums, num_items, strict=True))
    if reduction == "joint":
        total = divide_by_items(sums[0] + sums[1], num_items[0] + num_items[1])
    else:
        num_means = sum(torch.as_tensor(count > 0).long() for count in num_items)
        total = divide_by_items(masked + corrected, num_means)
    parts = {"token": total, "masked": masked, "corrected": corrected}
    accuracy = divide_by_items(num_correct, num_items[0])
    return Loss(total, {**{name: part.detach() for name, part in parts.items()}, "accuracy": accuracy})


def encoder_prediction_loss(
    logits: torch.Tensor,
    labels: torch.LongTensor,
    *,
    label_smoothing: float = 0.1,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    Cross-entropy (fp32) of masked source tokens, predicted from the encoder's output through the tied embedding.

    Source: Guo et al. 2020 (JM-NAT), whose encoder is a masked language model too; the reference weighs it by 0.01.

    Args:
        logits (`torch.Tensor` of shape `(B, S, V)`, or packed `(M, V)` in row-major order): encoder states projected
            to the vocabulary.
        labels (`torch.LongTensor` of shape `(B, S)`, or `(M,)`): source ids where masked, -100 elsewhere.
        label_smoothing (`float`): ε in [0, 1).
        num_items (`int`, *optional*): masked source tokens of the whole update; default those of this batch.

    Returns:
        [`Loss`] with part `encoder`. Nothing masked gives exactly 0, with a gradient.

    Raises:
        ValueError: where packed rows do not number the labels.
    """
    is_labelled = labels != -100
    targets = labels[is_labelled]
    num_items = targets.numel() if num_items is None else num_items
    summed = _summed_cross_entropy(select_positions(logits, is_labelled), targets, label_smoothing)
    total = divide_by_items(summed, num_items)
    return Loss(total, {"encoder": total.detach()})


def _labelled_rows(
    logits: torch.Tensor, labels: torch.LongTensor, is_selected: torch.BoolTensor
) -> tuple[torch.Tensor, torch.LongTensor]:
    """Logits and targets of the selected positions that have a label."""
    targets = labels[is_selected]
    has_label = targets != -100
    return select_positions(logits, is_selected)[has_label], targets[has_label]


def _summed_cross_entropy(logits: torch.Tensor, targets: torch.LongTensor, label_smoothing: float) -> torch.Tensor:
    return nn.functional.cross_entropy(logits.float(), targets, reduction="sum", label_smoothing=label_smoothing)
