# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Aligned cross-entropy (AXE): the cheapest monotone alignment of targets and predictions.

Shapes: B batch, M predicted positions, N target tokens, V vocabulary.
"""

from __future__ import annotations

import math

import torch

from dims_hf.models.ragged import find_real
from dims_hf.objectives.reduction import Loss, divide_by_items
from dims_hf.objectives.targets import check_positions, check_targets
from dims_hf.objectives.vocabulary import Vocabulary, as_vocabulary, pick_positions


_ALIGN, _SKIP_PREDICTION, _SKIP_TARGET = range(3)


def axe_loss(
    log_probs: torch.Tensor | Vocabulary,
    targets: torch.Tensor,
    prediction_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    *,
    empty_token_id: int,
    skip_penalty: float = 1.0,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    Sum over sentences of the cross-entropy along the best monotone alignment, divided by `num_items`. With δ the
    skip penalty, ε the empty token, i = 1 … N targets and j = 1 … M positions,

        A(0, 0) = 0,  A(0, j) = A(0, j−1) − log p_j(ε),  A(i, 0) = A(i−1, 0) − δ log p_1(y_i),
        A(i, j) = min of  A(i−1, j−1) − log p_j(y_i)    align,
                          A(i, j−1) − log p_j(ε)        skip the prediction,
                          A(i−1, j) − δ log p_j(y_i)    skip the target,

    and A(N, M) is the loss. Its gradient is along one best path; equally good steps are preferred in the order above.

    Source: Ghazvininejad et al. 2020 (arXiv 2004.01655), Eq. 3–6. For δ < 1 the recursion could pay ε and a skipped
    target at the same position, which the definition does not allow.

    Args:
        log_probs (`torch.Tensor` of shape `(B, M, V)`, or [`Vocabulary`] of shape `(B, M)`): log-probabilities.
        targets (`torch.LongTensor` of shape `(B, N)`): tokens alone, right-padded with anything.
        prediction_lengths (`torch.LongTensor` of shape `(B,)`): positions of each sentence, 0 … M.
        target_lengths (`torch.LongTensor` of shape `(B,)`): tokens of each target, 0 … N.
        empty_token_id (`int`): ε.
        skip_penalty (`float`): δ ≥ 1; the paper tunes it in 1 … 5.
        num_items (`int`, *optional*): target tokens of the whole update; default Σ `target_lengths`.

    Returns:
        [`Loss`] with part `axe`. Padding has no influence, whatever it holds, and gradient 0. Nothing to learn gives
        exactly 0, with a gradient.

    Raises:
        ValueError: for shapes that do not fit, ids or lengths out of range, ε in a target, δ < 1, or a sentence with
            targets but no position.
    """
    if not 1 <= skip_penalty < math.inf:
        raise ValueError(f"skip_penalty must be a number >= 1, got {skip_penalty}. The paper tunes it in 1 … 5.")
    vocabulary = as_vocabulary(log_probs, is_normalized=True)
    check_positions(vocabulary, prediction_lengths, "prediction_lengths")
    is_token = check_targets(
        vocabulary, targets, target_lengths, blank_token_id=empty_token_id, blank_name="empty_token_id"
    )
    if bool(((prediction_lengths == 0) & (target_lengths > 0)).any()):
        raise ValueError("a sentence has targets but no prediction. Predict at least one position.")
    ids = torch.nn.functional.pad(targets.masked_fill(~is_token, empty_token_id), (0, 1), value=empty_token_id)
    # of N tokens and ε alone; no other column of the vocabulary can be paid
    costs = -pick_positions(vocabulary, ids, find_real(prediction_lengths, vocabulary.shape[1]))
    weights = find_axe_weights(costs.detach(), prediction_lengths, target_lengths, skip_penalty=skip_penalty)
    # what is not on the path may be infinite
    summed = (weights * costs.masked_fill(weights == 0, 0.0)).sum()
    total = divide_by_items(summed, target_lengths.sum() if num_items is None else num_items)
    return Loss(total, {"axe": total.detach()})


@torch.no_grad()
def find_axe_weights(
    costs: torch.Tensor,
    prediction_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    *,
    skip_penalty: float,
) -> torch.Tensor:
    """
    How often the best alignment pays each cost: 1 where it aligns or skips a prediction, δ for a skipped target.

    Args:
        costs (`torch.Tensor` of shape `(B, M, N + 1)`): −log p of the target's tokens, in their order, and of ε.
        prediction_lengths, target_lengths (`torch.LongTensor` of shape `(B,)`).
        skip_penalty (`float`): δ.

    Returns:
        `torch.Tensor` of shape `(B, M, N + 1)`.
    """
    if not costs.shape[1]:
        return torch.zeros_like(costs)
    moves = _find_moves(costs, skip_penalty)
    weights, row = torch.zeros_like(costs), torch.arange(len(costs), device=costs.device)
    target, position, num_targets = target_lengths.clone(), prediction_lengths.clone(), costs.shape[2] - 1
    # M + N steps at most; sentences that are done stand still
    for _ in range(len(moves) - 1):
        move = moves[target + position, row, target]
        # at the borders of the table there is one way left
        move = torch.where(target == 0, _SKIP_PREDICTION, torch.where(position == 0, _SKIP_TARGET, move))
        is_skipped_target = move == _SKIP_TARGET
        paid = (target + position > 0).to(weights.dtype).masked_fill(is_skipped_target, skip_penalty)
        column = torch.where(move == _SKIP_PREDICTION, num_targets, target - 1)
        # accumulated: one position may pay for several skipped targets
        weights.index_put_((row, (position - 1).clamp(min=0), column), paid, accumulate=True)
        target = (target - (move != _SKIP_PREDICTION).long()).clamp(min=0)
        position = (position - (~is_skipped_target).long()).clamp(min=0)
    return weights


def _find_moves(costs: torch.Tensor, skip_penalty: float) -> torch.Tensor:
    """
    Best last steps (M + N + 1, B, N + 1), by diagonal i + j and target i.

    All cells of a diagonal depend on the two before it alone: M + N steps. Nothing is subtracted, so that costs may be
    infinite.
    """
    batch, num_positions, num_targets = costs.shape[0], costs.shape[1], costs.shape[2] - 1
    target = torch.arange(num_targets + 1, device=costs.device)
    blocked = costs.new_full((batch, 1), torch.inf)
    before, last = blocked.expand(-1, num_targets + 1), blocked.expand(-1, num_targets + 1).clone()
    last[:, 0] = 0.0
    moves = target.new_zeros((num_positions + num_targets + 1, batch, num_targets + 1))
    for diagonal in range(1, len(moves)):
        position = diagonal - target
        # a target skipped before the first position is paid at the first one, hence the clamp
        column = (position - 1).clamp(0, num_positions - 1)
        token = torch.cat([blocked, costs[:, column[1:], target[1:] - 1]], dim=1)
        has_position = (position > 0) & (position <= num_positions)
        options = torch.stack(
            [
                (torch.cat([blocked, before[:, :-1]], dim=1) + token).masked_fill(~has_position, torch.inf),
                (last + costs[:, column, -1]).masked_fill(~has_position, torch.inf),
                torch.cat([blocked, last[:, :-1]], dim=1) + skip_penalty * token,
            ]
        )
        # the first of equals: the order of preference in the docstring
        scores, moves[diagonal] = options.min(dim=0)
        before, last = last, scores.masked_fill((position < 0) | (position > num_positions), torch.inf)
    return moves
