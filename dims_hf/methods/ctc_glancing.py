# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""CTC with glancing (FullyNAT): a one-pass model that is shown some of the best alignment in training."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dims_hf.methods.alignments import AlignmentBatch, AlignmentOptions, Revealed
from dims_hf.methods.base import Run, Sourced
from dims_hf.methods.ctc import CTC
from dims_hf.methods.masks import EVALUATION_STEP, read_ratio, sample_glanced
from dims_hf.methods.options import option
from dims_hf.methods.published import ADAM, GLAT_RECIPE
from dims_hf.models.alignment import FREE_STATE
from dims_hf.models.modeling_translation import NATForConditionalGeneration
from dims_hf.objectives import count_glances


_DSLP_RECIPE = "released DSLP code, nat_ctc with glancing"

# Updates over which GLAT lowers its ratio, where the run has no number of updates of its own.
_GLAT_STEPS = 300_000


@dataclass(frozen=True)
class GlancingSchedule:
    """How much is shown: `glancing_ratio` in the first update, `glancing_final_ratio` from `glancing_steps` on."""

    glancing_ratio: float = option(
        0.5,
        ge=0,
        le=1,
        help="Share of the wrong predictions revealed in the first update.",
        advice="GLAT uses 0.5.",
    )
    glancing_final_ratio: float = option(
        0.3, ge=0, le=1, help="Share of the wrong predictions revealed at the end.", advice="GLAT uses 0.3."
    )
    glancing_steps: int | None = option(
        None,
        ge=1,
        help="Updates from the first share to the last; none = max_steps, or 300000 where epochs count.",
        advice="Leave it out for max_steps.",
    )

    def ratio(self, step: int, num_updates: int) -> float:
        """Share at an optimiser step of a run of `num_updates`: linear, then constant; 0 in validation."""
        if step == EVALUATION_STEP:
            return 0.0
        last_step = self.glancing_steps or (num_updates if num_updates > 0 else _GLAT_STEPS)
        return self.glancing_ratio + (self.glancing_final_ratio - self.glancing_ratio) * min(step / last_step, 1.0)


@dataclass(frozen=True)
class GlancingCTCOptions(GlancingSchedule, AlignmentOptions):
    """Settings of CTC with glancing."""


class GlancingBatch(AlignmentBatch):
    """[`AlignmentBatch`] with `glancing_ratio` (B,): share of the wrong frames that is shown."""

    glancing_ratio: torch.Tensor


class GlancingCTC(CTC):
    """
    CTC, with ⌊r · d⌋ random frames of each best alignment shown to the model.

    d is the number of frames in which the model's own prediction differs from its best alignment. The loss is plain
    CTC over all frames, shown ones too, as in the code of those systems. The first pass has no dropout here, and
    validation shows nothing.

    Source: GLAT (Qian et al. 2021, arXiv 2008.07905) on CTC, as in FullyNAT (Gu and Kong 2021, arXiv 2012.15833).
    """

    paper = "Gu and Kong 2021 (FullyNAT, arXiv 2012.15833)"
    Options = GlancingCTCOptions
    published = {
        "fullynat_teacher": {
            **ADAM,
            "model_type": Sourced("imputer", _DSLP_RECIPE),
            "method": Sourced("ctc_glancing", _DSLP_RECIPE),
            "upsample_ratio": Sourced(2, f"{_DSLP_RECIPE}; 3 in FullyNAT"),
            "learning_rate": Sourced(5e-4, _DSLP_RECIPE),
            "warmup_steps": Sourced(10_000, _DSLP_RECIPE),
            "dropout": Sourced(0.1, f"{_DSLP_RECIPE}, WMT'14"),
            "label_smoothing": Sourced(0.0, f"{_DSLP_RECIPE}, README"),
            "glancing_ratio": Sourced(0.5, f"{GLAT_RECIPE}, start_p"),
            "glancing_final_ratio": Sourced(0.3, f"{GLAT_RECIPE}, start_p − minus_p"),
            "glancing_steps": Sourced(300_000, GLAT_RECIPE),
        }
    }

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> GlancingBatch:
        """Fully masked alignments, and how much of the best ones will be shown."""
        ratio = torch.full(keys.shape, self.options.ratio(step, self.num_updates), device=keys.device)
        return GlancingBatch(**super().prepare(batch, keys, step), glancing_ratio=ratio)

    def reveal(self, run: Run, batch: GlancingBatch, aligner: NATForConditionalGeneration | None = None) -> Revealed:
        """Random frames of the best alignment, the more the worse the model predicts it; none is forced."""
        template, ratio = batch["decoder_input_ids"], batch["glancing_ratio"]
        # validation, and the end of a schedule that goes to 0: no first pass
        if not bool((ratio > 0).any()):
            return Revealed(template, None)
        alignment, predictions = self.align(run, batch, aligner, predict=True)
        # False at padding and where a target has no alignment
        has_state = alignment.states != FREE_STATE
        distance = (has_state & (predictions != alignment.tokens)).sum(dim=1)
        is_revealed = sample_glanced(has_state, batch["keys"], count_glances(distance, read_ratio(ratio)))
        return Revealed(torch.where(is_revealed, alignment.tokens, template), None)
