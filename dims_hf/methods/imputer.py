# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Imputer: a teacher that learns to complete partly revealed alignments."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dims_hf.methods.alignments import AlignmentBatch, AlignmentOptions, Alignments, Revealed
from dims_hf.methods.base import Run
from dims_hf.methods.masks import MASK_POLICIES
from dims_hf.methods.options import option
from dims_hf.models.alignment import FREE_STATE
from dims_hf.models.modeling_translation import NATForConditionalGeneration


@dataclass(frozen=True)
class ImputerOptions(AlignmentOptions):
    """Settings of Imputer training."""

    mask_policy: str = option(
        "block", choices=("block", "uniform", "full"), help="Distribution of masks: block, uniform or full."
    )
    ctc_steps: int = option(
        0, ge=0, help="Updates of pure CTC to begin with.", advice="0 starts with partially masked targets."
    )


class RevealsUnmasked(Alignments):
    """Methods that reveal, and force, what of the best alignment is not masked."""

    def reveal(self, run: Run, batch: AlignmentBatch, aligner: NATForConditionalGeneration | None = None) -> Revealed:
        """Frames of the best alignment that are not masked, revealed and forced."""
        template, is_revealed = batch["decoder_input_ids"], batch["decoder_attention_mask"] & ~batch["is_masked"]
        if not bool(is_revealed.any()):
            return Revealed(template, None)
        alignment, _ = self.align(run, batch, aligner)
        is_revealed &= alignment.states != FREE_STATE  # there is no alignment of a target that does not fit
        return Revealed(
            torch.where(is_revealed, alignment.tokens, template),
            alignment.states.masked_fill(~is_revealed, FREE_STATE),
        )


class Imputer(RevealsUnmasked):
    """
    Likelihood of the target over all alignments that agree with a partly revealed one.

    `ctc_steps` updates of pure CTC; then the current model, in evaluation mode and from masks alone, aligns each
    target, `mask_policy` masks the alignment, and the loss is over all alignments that agree with what is left of it.

    Source: Saharia et al. 2020 (arXiv 2004.07437).
    """

    paper = "Saharia et al. 2020 (arXiv 2004.07437)"
    families = ("imputer",)
    Options = ImputerOptions

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> AlignmentBatch:
        """Fully masked alignments, and which frames stay masked once the rest is revealed."""
        prepared = super().prepare(batch, keys, step)
        policy = "full" if 0 <= step < self.options.ctc_steps else self.options.mask_policy
        prepared["is_masked"] = MASK_POLICIES[policy](prepared["decoder_attention_mask"], keys)
        return prepared
