# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Block-wise unmasking of alignments: a state, one step that reveals a position of each block.

Shapes: R rows, A alignment length (positions), S passes, which is the length of a block too. Rows are padded on the
right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from .decoding_ctc import CTCDecoding, CTCSettings, collapse_rows, make_templates
from .decoding_grid import AnyState, DecodingState, GridState, apply_pass, start_decoding
from .masking import rank_in_blocks, remaining_masks


@dataclass(frozen=True)
class ImputerSettings(CTCSettings):
    """
    Settings of `generate()` for Imputers.

    Args:
        num_iterations (`int`): passes, and positions of a block.
        legacy_adjacency (`bool`): the reference's order of revealing, see [`step_block_unmasking`].
    """

    num_iterations: int = 8
    legacy_adjacency: bool = False


def init_block_unmasking(
    lengths: torch.Tensor, *, num_iterations: int, pad_token_id: int, mask_token_id: int
) -> DecodingState:
    """
    The state before the first pass over [`make_templates`].

    Args:
        lengths, pad_token_id, mask_token_id: as [`make_templates`].
        num_iterations (`int`): decoder passes to plan for.
    """
    templates = make_templates(lengths, pad_token_id=pad_token_id, mask_token_id=mask_token_id)
    return start_decoding(*templates, num_iterations)


def step_block_unmasking(
    state: AnyState,
    is_updated: torch.Tensor,
    predictions: torch.Tensor,
    log_probs: torch.Tensor,
    *,
    mask_token_id: int,
    legacy_adjacency: bool = False,
) -> AnyState:
    """
    Writes the predictions of one pass, then masks all but a few positions of each block of S positions.

    A block of c positions (c < S only in the last one) has ⌊c (S − s) / S⌋ masks after pass s: a full block reveals
    one position in every pass, a partial one at most one. Pass 1 reveals the last position of each block, later passes
    the most confident masked one, and what is revealed stays so. Two neighbours are thus never revealed by the same
    pass, if S > 1: inside a block there is at most one; the last position of a block is revealed by pass 1, which
    reveals the first of the next only where that block holds one position. Such a block waits for pass 2.

    With `legacy_adjacency` the masks of a block are the least confident of all its positions, revealed ones included
    (in a full block the last position always stays), and a partial last block has no position that comes first. Two
    neighbours may then be revealed together: beside a partial block, or where a position is masked again.

    Source: block decoding of Saharia et al. 2020 (arXiv 2004.07437); counts and legacy rule as the DiMS reference
    implementation.

    Args:
        state ([`DecodingState`]): before the pass.
        is_updated (`torch.BoolTensor` of shape `(R, A)`): positions the pass predicted (M in all).
        predictions (`torch.LongTensor` of shape `(M,)`): predicted tokens and blanks, row-major.
        log_probs (`torch.FloatTensor` of shape `(M,)`): their log-probabilities.
        mask_token_id (`int`): written where a position is masked.
        legacy_adjacency (`bool`): the reference's rule.
    """
    select = _select_legacy if legacy_adjacency else _select_apart

    def select_masks(scores: torch.Tensor, num_passes: int) -> torch.Tensor:
        return select(scores, state, _Blocks.of(state.is_content, state.num_iterations), num_passes)

    return apply_pass(state, is_updated, predictions, log_probs, select_masks, mask_token_id=mask_token_id)


class _Blocks(NamedTuple):
    """
    Blocks of positions.

    Args:
        sizes (`torch.LongTensor` of shape `(R,)`): S, of all blocks of a row but its last.
        numbers (`torch.LongTensor` of shape `(R, A)`): of the block that each position is in.
        places (`torch.LongTensor` of shape `(R, A)`): of each position in its block.
        num_content (`torch.LongTensor` of shape `(R, A)`): positions that its block has, padding excluded.
    """

    sizes: torch.Tensor
    numbers: torch.Tensor
    places: torch.Tensor
    num_content: torch.Tensor

    @classmethod
    def of(cls, is_content: torch.Tensor, size: int | torch.Tensor) -> _Blocks:
        """Blocks of `size` positions, a tensor in an exported graph; content (R, A) is padded on the right."""
        lengths = is_content.sum(dim=1, keepdim=True)
        # a tensor in any case, so that an exported graph takes another number of passes
        sizes = torch.ones_like(lengths) * size
        columns = torch.arange(is_content.shape[1], device=is_content.device)
        # from column 0, not from the first content: rows are padded on the right
        numbers = columns // sizes
        starts = numbers * sizes
        return cls(sizes.squeeze(1), numbers, columns - starts, torch.minimum((lengths - starts).clamp(min=0), sizes))


def _select_apart(scores: torch.Tensor, state: DecodingState, blocks: _Blocks, num_passes: int) -> torch.Tensor:
    """Masks (R, A) after `num_passes` passes: the earlier ones but, in each block, the most confident."""
    num_left = remaining_masks(blocks.num_content, num_passes, state.num_iterations)
    is_first_pass = torch.as_tensor(num_passes == 1, device=scores.device)
    # infinite confidence: never among the lowest, so that the last position of each block is revealed first
    scores = scores.masked_fill(is_first_pass & (blocks.places == blocks.num_content - 1), float("inf"))
    # A block of one position waits: its left neighbour is the last one of a block, which this pass reveals.
    is_lone = (blocks.num_content == 1) & (blocks.numbers > 0) & (blocks.sizes.unsqueeze(1) > 1)
    num_left = num_left.masked_fill(is_first_pass & is_lone, 1)
    # masked ones alone: what is revealed stays
    return _select_lowest_of_blocks(scores, state.is_masked, blocks, num_left)


def _select_legacy(scores: torch.Tensor, state: DecodingState, blocks: _Blocks, num_passes: int) -> torch.Tensor:
    """Masks (R, A) after `num_passes` passes: the least confident positions of each block, last excepted."""
    # by the full size: a partial last block has no such place, the reference's rule
    scores = scores.masked_fill(blocks.places == blocks.sizes.unsqueeze(1) - 1, float("inf"))
    num_left = remaining_masks(blocks.num_content, num_passes, state.num_iterations)
    # all content, revealed positions too: they may be masked again
    return _select_lowest_of_blocks(scores, state.is_content, blocks, num_left)


def _select_lowest_of_blocks(
    scores: torch.Tensor, is_eligible: torch.Tensor, blocks: _Blocks, num_selected: torch.Tensor
) -> torch.Tensor:
    """The `num_selected` (R, A) eligible positions of each block with the lowest scores; ties go to the leftmost."""
    return (rank_in_blocks(scores, is_eligible, blocks.sizes) < num_selected) & is_eligible


class BlockUnmasking(CTCDecoding):
    """Alignments that are revealed block by block; a prefix beam searches the frames that the last pass predicted."""

    settings_class = ImputerSettings
    settings: ImputerSettings

    def reveal(
        self,
        state: GridState,
        is_updated: torch.Tensor,
        predictions: torch.Tensor,
        log_probs: torch.Tensor,
    ) -> GridState:
        return step_block_unmasking(
            state,
            is_updated,
            predictions,
            log_probs,
            mask_token_id=self.config.mask_token_id,
            legacy_adjacency=self.settings.legacy_adjacency,
        )


__all__ = [
    "BlockUnmasking",
    "ImputerSettings",
    "collapse_rows",
    "init_block_unmasking",
    "make_templates",
    "step_block_unmasking",
]
