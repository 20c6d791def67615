# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""OAXE: a one-pass model that is trained on each target in the order that costs it least."""

from __future__ import annotations

from dataclasses import dataclass

from dims_hf.methods.base import Items, Sourced
from dims_hf.methods.full_masks import Content, FullMaskOptions, FullMasks
from dims_hf.methods.options import option
from dims_hf.objectives import Loss, oaxe_loss


_OAXE_RECIPE = "released OAXE code: fine-tuning of a trained CMLM"
_OAXE_LOSS = "released OAXE code, criterions/oaxe.py"


@dataclass(frozen=True)
class OAXEOptions(FullMaskOptions):
    """Settings of OAXE training."""

    truncation: float = option(
        0.15, ge=0, le=0.999, help="Least probability of a matched token that counts.", advice="The paper uses 0.15."
    )
    label_smoothing: float = option(
        0.1, ge=0, le=0.999, help="Smoothing of the token loss, in [0, 1).", advice="OAXE uses 0.1."
    )


class OAXE(FullMasks):
    """
    Order-agnostic cross-entropy: each position learns the token that the cheapest matching gives it.

    A fine-tuning stage: the matching of an untrained model is noise. Start from a CMLM, or from a student of DiMS. The
    mean is over all target tokens, those too that `truncation` drops, so that it is known beforehand.

    Source: Du et al. 2021 (arXiv 2106.05093), §3.
    """

    paper = "Du et al. 2021 (OAXE, arXiv 2106.05093)"
    families = ("cmlm", "cmlmc")
    Options = OAXEOptions
    published = {
        "oaxe_teacher": {
            "method": Sourced("oaxe", _OAXE_RECIPE),
            "learning_rate": Sourced(5e-6, _OAXE_RECIPE),
            "warmup_steps": Sourced(500, _OAXE_RECIPE),
            "adam_beta1": Sourced(0.9, _OAXE_RECIPE),
            "adam_beta2": Sourced(0.999, _OAXE_RECIPE),
            "dropout": Sourced(0.2, _OAXE_RECIPE),
            "truncation": Sourced(0.15, "§3.3 of Du et al. 2021; the released code drops p < 0.065 only"),
            "label_smoothing": Sourced(0.1, f"{_OAXE_LOSS}: a constant there"),
        }
    }

    def compare(self, content: Content, items: Items) -> Loss:
        """Cross-entropy of the cheapest matching."""
        return oaxe_loss(
            *content,
            truncation=self.options.truncation,
            label_smoothing=self.options.label_smoothing,
            num_items=items["tokens"],
        )
