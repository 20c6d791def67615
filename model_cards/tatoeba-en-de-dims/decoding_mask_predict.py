# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Mask-predict decoding as pure functions: a state, and one step that reveals and re-masks.

Shapes: R rows (sentences times length candidates), T target length (with `<s>` and `</s>`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from .masking import remaining_masks, select_lowest


# What a pass did with a position.
KEPT, REVEALED, REMASKED = 0, 1, 2


@dataclass(frozen=True)
class DecodingState:
    """
    State of an iterative decoding after `num_passes` decoder passes.

    Args:
        tokens (`torch.LongTensor` of shape `(R, T)`): decoder input of the next pass, masks included.
        hypotheses (`torch.LongTensor` of shape `(R, T)`): the same without masks: latest prediction of each position.
        scores (`torch.FloatTensor` of shape `(R, T)`): log-probability of each latest prediction; 0 for specials.
        is_content (`torch.BoolTensor` of shape `(R, T)`): positions between `<s>` and `</s>`.
        is_masked (`torch.BoolTensor` of shape `(R, T)`): positions that are masks in `tokens`.
        state (`torch.LongTensor` of shape `(R, T)`): KEPT (0), REVEALED (1) or REMASKED (2) by the latest pass.
        num_passes (`int`): decoder passes done.
        num_iterations (`int`): decoder passes planned.
    """

    tokens: torch.LongTensor
    hypotheses: torch.LongTensor
    scores: torch.FloatTensor
    is_content: torch.BoolTensor
    is_masked: torch.BoolTensor
    state: torch.LongTensor
    num_passes: int
    num_iterations: int

    @property
    def is_finished(self) -> bool:
        """Whether all passes are done; stopping earlier is the caller's decision."""
        return self.num_passes >= self.num_iterations


def start_decoding(tokens: torch.LongTensor, is_content: torch.BoolTensor, num_iterations: int) -> DecodingState:
    """The state before the first pass over templates (R, T) whose content positions are all masks."""
    return DecodingState(
        tokens=tokens,
        hypotheses=tokens,
        scores=torch.zeros(tokens.shape, device=tokens.device),
        is_content=is_content,
        is_masked=is_content,
        state=torch.zeros_like(tokens),
        num_passes=0,
        num_iterations=num_iterations,
    )


def init_mask_predict(
    lengths: torch.LongTensor,
    *,
    num_iterations: int,
    bos_token_id: int,
    eos_token_id: int,
    pad_token_id: int,
    mask_token_id: int,
) -> DecodingState:
    """
    Fully masked templates `<s> mask … mask </s> pad …`.

    Args:
        lengths (`torch.LongTensor` of shape `(R,)`): target tokens with `<s>` and `</s>`, each at least 2.
        num_iterations (`int`): decoder passes to plan for.
        bos_token_id, eos_token_id, pad_token_id, mask_token_id (`int`): ids of the template's tokens.
    """
    column = torch.arange(int(lengths.max()), device=lengths.device).unsqueeze(0)
    last = lengths.unsqueeze(1) - 1
    tokens = torch.full((lengths.shape[0], column.shape[1]), pad_token_id, device=lengths.device)
    is_content = (column > 0) & (column < last)
    tokens = tokens.masked_fill(is_content, mask_token_id)
    tokens = tokens.masked_fill(column == last, eos_token_id).masked_fill(column == 0, bos_token_id)
    return start_decoding(tokens, is_content, num_iterations)


def step_mask_predict(
    state: DecodingState,
    is_updated: torch.BoolTensor,
    predictions: torch.LongTensor,
    log_probs: torch.FloatTensor,
    *,
    mask_token_id: int,
) -> DecodingState:
    """
    Writes the predictions of one pass, then re-masks the least confident ⌊N (S − s) / S⌋ content positions.

    Source: Ghazvininejad et al. 2019, §3 (Mask-Predict).

    Args:
        state ([`DecodingState`]): before the pass.
        is_updated (`torch.BoolTensor` of shape `(R, T)`): positions the pass predicted (M in all).
        predictions (`torch.LongTensor` of shape `(M,)`): predicted tokens, row-major.
        log_probs (`torch.FloatTensor` of shape `(M,)`): their log-probabilities.
        mask_token_id (`int`): written where a position is masked again.
    """

    def select_masks(scores: torch.FloatTensor, num_passes: int) -> torch.BoolTensor:
        num_left = remaining_masks(state.is_content.sum(dim=1), num_passes, state.num_iterations)
        return select_lowest(scores, state.is_content, num_left)

    return apply_pass(state, is_updated, predictions, log_probs, select_masks, mask_token_id=mask_token_id)


def apply_pass(
    state: DecodingState,
    is_updated: torch.BoolTensor,
    predictions: torch.LongTensor,
    log_probs: torch.FloatTensor,
    select_masks: Callable[[torch.FloatTensor, int], torch.BoolTensor],
    *,
    mask_token_id: int,
) -> DecodingState:
    """
    Writes the predictions of one pass, then masks what `select_masks(scores, num_passes)` (R, T) chooses; what every
    strategy shares. The other arguments are those of [`step_mask_predict`].
    """
    hypotheses = state.hypotheses.masked_scatter(is_updated, predictions)
    scores = state.scores.masked_scatter(is_updated, log_probs)
    num_passes = state.num_passes + 1
    is_masked = select_masks(scores, num_passes)
    what_happened = torch.where(is_masked, REMASKED, torch.where(is_updated, REVEALED, KEPT))
    return replace(
        state,
        tokens=hypotheses.masked_fill(is_masked, mask_token_id),
        hypotheses=hypotheses,
        scores=scores,
        is_masked=is_masked,
        state=what_happened,
        num_passes=num_passes,
    )
