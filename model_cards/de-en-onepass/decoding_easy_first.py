# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Parallel easy-first decoding: all positions in every pass, each seeing those that were surer in the first.

Shapes: R rows, T positions, M updated positions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from .decoding_grid import GridState, GridStrategy
from .decoding_mask_predict import MaskPredict
from .decoding_strategy import DecodingRequest, EncodedSources
from .masking import rank_by_score, see_surer


@dataclass(frozen=True)
class EasyFirstState(GridState):
    """
    [`GridState`] with the order in which positions see each other.

    Args:
        ranks (`torch.LongTensor` of shape `(R, T)`): of the first pass' predictions, 0 the surest; -1 for what is no
            content. Before that pass, which sees no predictions, all content has rank 0.
    """

    # `GridState` has defaults, so that what follows needs one
    ranks: torch.Tensor = None  # type: ignore[assignment]


class EasyFirst(MaskPredict):
    """
    Parallel easy-first (Kasai et al. 2020, arXiv 2001.05136, §3.2). The first pass sees `<s>` and `</s>` alone; its
    probabilities rank the positions once and for all. In later passes a position sees the latest tokens of those that
    rank before it, and all are predicted again, until nothing changes. A sentence's score is that of its last pass.
    """

    def init(self, sources: EncodedSources, request: DecodingRequest) -> EasyFirstState:
        state = super().init(sources, request)
        return EasyFirstState(**vars(state), ranks=state.is_content.long() - 1)

    def decoder_options(self, state: GridState) -> dict[str, Any]:
        """Who sees whom."""
        assert isinstance(state, EasyFirstState)  # as `init` made it
        return {"visibility": see_surer(state.ranks[state.inputs.rows])}

    def reveal(
        self,
        state: GridState,
        is_updated: torch.Tensor,
        predictions: torch.Tensor,
        log_probs: torch.Tensor,
    ) -> GridState:
        # no position is masked again: later passes predict all of them anew
        after = GridStrategy.reveal(self, state, is_updated, predictions, log_probs)
        assert isinstance(state, EasyFirstState) and isinstance(after, EasyFirstState)
        is_first = state.num_passes == 0
        if is_first is False:
            return after
        # ranked once, by the first pass; an exported step does not know which one it is
        ranks = rank_by_score(after.scores, after.is_content)
        return replace(after, ranks=torch.where(torch.as_tensor(is_first), ranks, state.ranks))


__all__ = ["EasyFirst", "EasyFirstState"]
