# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Order-agnostic cross-entropy (OAXE): the cheapest matching of positions and target tokens, in any order."""

from __future__ import annotations

import math

import torch

from dims_hf.objectives.assignment import assign
from dims_hf.objectives.reduction import Loss, divide_by_items
from dims_hf.objectives.targets import check_targets
from dims_hf.objectives.vocabulary import Vocabulary, as_vocabulary, pick_positions


def oaxe_loss(
    log_probs: torch.Tensor | Vocabulary,
    targets: torch.Tensor,
    target_lengths: torch.Tensor,
    *,
    truncation: float = 0.0,
    label_smoothing: float = 0.0,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    Cross-entropy of each target in its cheapest order, divided by `num_items`:

        Σ_sentences min_π Σ_i −log p_i(y_π(i)),

    of which terms with p < `truncation` are dropped once the order is found. With label smoothing ε it is (1 − ε)
    times that, plus ε · Σ_i mean_v −log p_i(v) over all real positions, dropped or not.

    Source: Du et al. 2021 (arXiv 2106.05093), Eq. 2–5; truncation at 0.15 there. The released code compares nats with
    −log₂ 0.15, which drops p < 0.065 only; here it is the paper's rule.

    Args:
        log_probs (`torch.Tensor` of shape `(B, N, V)`, or [`Vocabulary`] of shape `(B, N)`): log-probabilities at as
            many positions as tokens.
        targets (`torch.LongTensor` of shape `(B, N)`): tokens alone, right-padded with anything.
        target_lengths (`torch.LongTensor` of shape `(B,)`): tokens of each target, 0 … N.
        truncation (`float`): least probability that counts, in [0, 1).
        label_smoothing (`float`): ε in [0, 1).
        num_items (`int`, *optional*): target tokens of the whole update; default Σ `target_lengths`, dropped ones
            included.

    Returns:
        [`Loss`] with parts `oaxe` (the loss) and `kept` (share of `num_items` not dropped). Padding has no influence,
        whatever it holds, and gradient 0. Nothing to learn gives exactly 0, with a gradient.

    Raises:
        ValueError: for shapes that do not fit, ids or lengths out of range, or a share outside [0, 1).
    """
    for name, share in (("truncation", truncation), ("label_smoothing", label_smoothing)):
        if not 0 <= share < 1:
            raise ValueError(f"{name} must be in [0, 1), got {share}.")
    vocabulary = as_vocabulary(log_probs, is_normalized=True)
    is_token = check_targets(vocabulary, targets, target_lengths)
    if vocabulary.shape != targets.shape:
        raise ValueError(
            f"log_probs have positions {tuple(vocabulary.shape)}, targets {tuple(targets.shape)}. OAXE needs one "
            "position for each token."
        )
    num_items = target_lengths.sum() if num_items is None else num_items
    picked = pick_positions(vocabulary, targets.masked_fill(~is_token, 0), is_token, has_mean=label_smoothing > 0)
    costs = -picked[..., : targets.shape[1]]
    # the order is found without a gradient, which flows through the costs that it picks
    matched = costs.gather(2, assign(costs.detach(), target_lengths).unsqueeze(2)).squeeze(2)
    is_kept = is_token & (matched.detach() <= _most_nats(truncation, matched.dtype))
    summed = matched[is_kept].sum()
    if label_smoothing:
        summed = (1 - label_smoothing) * summed - label_smoothing * picked[..., -1][is_token].sum()
    total = divide_by_items(summed, num_items)
    kept = divide_by_items(is_kept.sum().to(total.dtype), num_items)
    return Loss(total, {"oaxe": total.detach(), "kept": kept})


def _most_nats(truncation: float, dtype: torch.dtype) -> float:
    """Highest −log p that is kept. What equals the threshold but for rounding is not below it."""
    if truncation == 0:
        return math.inf
    nats = -math.log(truncation)
    # a few units in the last place: log and exp round
    return nats + 4 * torch.finfo(dtype).eps * max(nats, 1.0)
