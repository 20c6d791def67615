# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Deterministic iterative refinement: every pass predicts all positions from the whole of the last prediction.

Shapes: R rows, T positions, M updated positions.
"""

from __future__ import annotations

import torch

from .decoding_grid import GridState, apply_pass
from .decoding_mask_predict import MaskPredict


class Refine(MaskPredict):
    """
    Nothing is masked again (Lee et al. 2018, arXiv 1802.06901, §3): a pass reads what the one before has written,
    until nothing changes. A sentence's score is that of its last pass.
    """

    def reveal(
        self, state: GridState, is_updated: torch.Tensor, predictions: torch.Tensor, log_probs: torch.Tensor
    ) -> GridState:
        return apply_pass(
            state,
            is_updated,
            predictions,
            log_probs,
            lambda scores, num_passes: torch.zeros_like(is_updated),
            mask_token_id=self.config.mask_token_id,
        )


__all__ = ["Refine"]
