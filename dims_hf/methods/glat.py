# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""GLAT: a CMLM for one pass that is shown some of the target in training, the more the worse it predicts it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dims_hf.methods.base import Items, MethodOptions, Run, Sourced
from dims_hf.methods.ctc_glancing import GlancingSchedule
from dims_hf.methods.masked_targets import GlancedBatch, MaskedTargets
from dims_hf.methods.masks import mask_batch
from dims_hf.methods.options import option
from dims_hf.methods.published import GLAT_RECIPE
from dims_hf.objectives import Loss


@dataclass(frozen=True)
class GLATOptions(GlancingSchedule, MethodOptions):
    """Settings of GLAT training."""

    label_smoothing: float = option(
        0.1, ge=0, le=0.999, help="Smoothing of the token loss, in [0, 1).", advice="GLAT uses 0.1."
    )
    length_weight: float = option(
        0.1, ge=0, le=float("inf"), help="Weight of the length loss.", advice="The reference uses 0.1."
    )


class GLAT(MaskedTargets):
    """
    Glancing transformer: cross-entropy of the tokens that stay masked when ⌊r · d⌋ random ones are shown.

    d is the number of tokens that the model predicts wrongly from masks alone, in a pass without gradient and without
    dropout; the shown tokens are drawn from all, right or wrong. r falls with training, and validation shows nothing.
    The mean is over all tokens of the update, shown ones too, so that it is known beforehand; the published code
    divides by the tokens that stay masked and weights the length loss by their share instead.

    Source: Qian et al. 2021 (arXiv 2008.07905), §3.
    """

    paper = "Qian et al. 2021 (arXiv 2008.07905)"
    families = ("cmlm",)
    one_pass = True
    masks_alone = True
    has_accuracy = False
    Options = GLATOptions
    published = {
        "glat_teacher": {
            "model_type": Sourced("cmlm", GLAT_RECIPE),
            "method": Sourced("glat", GLAT_RECIPE),
            "learning_rate": Sourced(5e-4, GLAT_RECIPE),
            "warmup_steps": Sourced(4_000, GLAT_RECIPE),
            "weight_decay": Sourced(0.01, GLAT_RECIPE),
            "max_grad_norm": Sourced(5.0, GLAT_RECIPE),
            "dropout": Sourced(0.1, GLAT_RECIPE),
            "label_smoothing": Sourced(0.1, GLAT_RECIPE),
            "glancing_ratio": Sourced(0.5, f"{GLAT_RECIPE}, start_p"),
            "glancing_final_ratio": Sourced(0.3, f"{GLAT_RECIPE}, start_p − minus_p"),
            "glancing_steps": Sourced(300_000, GLAT_RECIPE),
        }
    }

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> GlancedBatch:
        """Fully masked targets, and how much of them will be shown."""
        masked = mask_batch(batch, self.config, policy="full", keys=keys)
        ratio = torch.full(keys.shape, self.options.ratio(step, self.num_updates), device=keys.device)
        return GlancedBatch(**masked, keys=keys, glancing_ratio=ratio)

    def loss(self, run: Run, batch: GlancedBatch, items: Items) -> Loss:
        """Token and length loss of one batch, after the glance."""
        batch = self.glance(run, batch)
        outputs, is_masked = self.forward(run, batch)
        token = self.token_loss(run, batch, outputs.decoder_last_hidden_state, is_masked, items)
        shown = {"token": token.parts["token"]}
        return self.add_length_loss(Loss(token.total, shown), outputs.length_logits, batch, items)
