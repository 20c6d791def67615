# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Sources and optimiser settings that the published values of several methods share."""

from __future__ import annotations

from collections.abc import Mapping

from dims_hf.methods.base import Sourced


CMLM_RECIPE = "fairseq, examples/nonautoregressive_translation/scripts.md"
GLAT_RECIPE = "released GLAT code, task translation_lev_modified"

ADAM: Mapping[str, Sourced] = {
    "adam_beta1": Sourced(0.9, CMLM_RECIPE),
    "adam_beta2": Sourced(0.98, CMLM_RECIPE),
    "adam_epsilon": Sourced(1e-8, CMLM_RECIPE),
    "weight_decay": Sourced(0.01, CMLM_RECIPE),
    "max_grad_norm": Sourced(0.0, "fairseq's clip-norm, which the recipes leave at 0"),
    "lr_scheduler_type": Sourced("fairseq_inverse_sqrt", CMLM_RECIPE),
}
