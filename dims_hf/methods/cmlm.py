# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""CMLM: a teacher that learns to fill masks."""

from __future__ import annotations

from dataclasses import dataclass

from dims_hf.methods.base import Sourced
from dims_hf.methods.masked_targets import MaskedTargetOptions, MaskedTokens
from dims_hf.methods.options import option
from dims_hf.methods.published import ADAM, CMLM_RECIPE


@dataclass(frozen=True)
class CMLMOptions(MaskedTargetOptions):
    """Settings of CMLM training; defaults as in fairseq's recipe."""

    label_smoothing: float = option(
        0.1,
        ge=0,
        le=0.999,
        help="Smoothing of the token loss, in [0, 1).",
        advice="The papers use 0.1 for teachers.",
    )


class CMLM(MaskedTokens):
    """
    Conditional masked language model: label-smoothed cross-entropy of masked tokens, given those that are not.

    Source: Ghazvininejad et al. 2019 (arXiv 1904.09324), §2 and §3.
    """

    paper = "Ghazvininejad et al. 2019 (arXiv 1904.09324)"
    families = ("cmlm",)
    Options = CMLMOptions
    published = {
        "fairseq_cmlm_teacher": {
            **ADAM,
            "model_type": Sourced("cmlm", CMLM_RECIPE),
            "learning_rate": Sourced(5e-4, CMLM_RECIPE),
            "warmup_steps": Sourced(10_000, CMLM_RECIPE),
            "max_steps": Sourced(300_000, CMLM_RECIPE),
            "max_tokens_per_batch": Sourced(8000, CMLM_RECIPE),
            "label_smoothing": Sourced(0.1, CMLM_RECIPE),
            "length_weight": Sourced(0.1, CMLM_RECIPE),
            "dropout": Sourced(0.3, CMLM_RECIPE),
            "mask_policy": Sourced("uniform", CMLM_RECIPE),
        }
    }
