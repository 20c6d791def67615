# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Decoding rules that need no training, as pure functions on the likeliest tokens of each position.

Shapes: R rows, T positions, C likeliest tokens of each.
"""

from __future__ import annotations

import torch


# Neighbours forbid at most two tokens, so three suffice for the exact best path whatever the penalty.
NUM_BEST = 3


def penalize_repeats(
    tokens: torch.Tensor,
    log_probs: torch.Tensor,
    is_content: torch.Tensor,
    repeat_penalty: float,
    *,
    is_forced: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Likeliest tokens under a penalty for equal neighbours: argmax Σ_t log p_t(y_t) − ρ · #{t : y_t = y_(t+1)}.

    A Viterbi search, exact with the [`NUM_BEST`] likeliest tokens of each position. ρ = 0 gives the likeliest token
    everywhere, ρ = ∞ the optimal decoding of Sun & Yang 2020 (arXiv 2006.16378, ODD), which never repeats a token; in
    between, a repeat stays where the alternatives are improbable.

    Args:
        tokens (`torch.LongTensor` of shape `(R, T, C)`): likeliest tokens, most likely first; outside of the content,
            the first is the result.
        log_probs (`torch.FloatTensor` of shape `(R, T, C)`): their log-probabilities.
        is_content (`torch.BoolTensor` of shape `(R, T)`): positions to choose for; others are no neighbours.
        repeat_penalty (`float`): ρ, at least 0.
        is_forced (`torch.BoolTensor` of shape `(R, T)`, *optional*): positions whose first token is fixed, and a
            neighbour: beside a content position it is penalised, beside a forced one it is meant.

    Returns:
        tokens (R, T), and their log-probabilities (R, T), 0 outside of the content.
    """
    is_forced = torch.zeros_like(is_content) if is_forced is None else is_forced
    is_inside = is_content | is_forced
    certain = torch.full_like(log_probs, -torch.inf)
    # outside of the content the first token is the only one possible, and costs nothing
    certain[..., 0] = 0.0
    log_probs = torch.where(is_content.unsqueeze(-1), log_probs, certain)
    # A pair of neighbours (t − 1, t) is penalised where both are inside and not both forced.
    is_pair = is_inside[:, 1:] & is_inside[:, :-1] & ~(is_forced[:, 1:] & is_forced[:, :-1])
    is_same = (tokens[:, :-1, :, None] == tokens[:, 1:, None, :]) & is_pair[..., None, None]
    # filled in, not multiplied: ∞ · 0 would be NaN
    penalties = torch.zeros(is_same.shape, device=log_probs.device).masked_fill_(is_same, repeat_penalty)
    # What is lost beside the likeliest token: sums of it stay small, so that long targets are told apart as well.
    losses = log_probs - log_probs[..., :1]
    total, origins = losses[:, 0], []
    for t in range(1, tokens.shape[1]):
        best, origin = (total.unsqueeze(2) - penalties[:, t - 1]).max(dim=1)
        origins.append(origin)
        total = best + losses[:, t]
    # `max` and `argmax` take the first of equals, which is the likelier token
    choice = total.argmax(dim=1, keepdim=True)
    choices = [choice]
    for origin in reversed(origins):
        choice = origin.gather(1, choice)
        choices.append(choice)
    chosen = torch.stack(choices[::-1], dim=1)
    return tokens.gather(2, chosen).squeeze(2), log_probs.gather(2, chosen).squeeze(2)


__all__ = ["NUM_BEST", "penalize_repeats"]
