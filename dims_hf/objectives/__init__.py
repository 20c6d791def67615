# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Training objectives as pure functions: tensors in, `Loss(total, parts)` out."""

from dims_hf.objectives.cmlm import cmlm_loss
from dims_hf.objectives.cmlmc import cmlmc_loss, encoder_prediction_loss
from dims_hf.objectives.dims import dims_loss, hidden_distance, soft_label_loss
from dims_hf.objectives.imputer import imputer_dims_loss, imputer_loss
from dims_hf.objectives.length import length_classes, length_loss
from dims_hf.objectives.projected import (
    VocabularyProjection,
    projected_cmlm_loss,
    projected_cmlmc_loss,
    projected_dims_loss,
    projected_imputer_dims_loss,
    projected_imputer_loss,
)
from dims_hf.objectives.reduction import Loss, masked_accuracy


# model_type -> loss that trains a teacher of that family.
OBJECTIVES = {"cmlm": cmlm_loss, "cmlmc": cmlmc_loss, "imputer": imputer_loss}

__all__ = [
    "OBJECTIVES",
    "Loss",
    "VocabularyProjection",
    "cmlm_loss",
    "cmlmc_loss",
    "dims_loss",
    "encoder_prediction_loss",
    "hidden_distance",
    "imputer_dims_loss",
    "imputer_loss",
    "length_classes",
    "length_loss",
    "masked_accuracy",
    "projected_cmlm_loss",
    "projected_cmlmc_loss",
    "projected_dims_loss",
    "projected_imputer_dims_loss",
    "projected_imputer_loss",
    "soft_label_loss",
]
