# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Deterministic iterative refinement: every pass predicts all positions from the whole of the last prediction.

Shapes: R rows, T positions, M updated positions.
"""

from .decoding_grid import GridStrategy
from .decoding_mask_predict import MaskPredict


class Refine(MaskPredict):
    """
    Nothing is masked again (Lee et al. 2018, arXiv 1802.06901, §3): a pass reads what the one before has written,
    until nothing changes. A sentence's score is that of its last pass.
    """

    # not that of mask-predict, which masks the least confident again
    reveal = GridStrategy.reveal


__all__ = ["Refine"]
