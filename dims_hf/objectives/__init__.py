# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Training objectives as pure functions: tensors in, `Loss(total, parts)` out."""

from dims_hf.objectives.cmlm import cmlm_loss
from dims_hf.objectives.cmlmc import cmlmc_loss, encoder_prediction_loss
from dims_hf.objectives.dims import dims_loss, hidden_distance, soft_label_loss
from dims_hf.objectives.divergences import DIVERGENCES
from dims_hf.objectives.imputer import imputer_dims_loss, imputer_loss
from dims_hf.objectives.length import length_classes, length_loss
from dims_hf.objectives.projection import VocabularyProjection
from dims_hf.objectives.reduction import Loss, masked_accuracy
from dims_hf.objectives.vocabulary import DenseVocabulary, ProjectedVocabulary, Vocabulary, as_vocabulary


__all__ = [
    "DIVERGENCES",
    "DenseVocabulary",
    "Loss",
    "ProjectedVocabulary",
    "Vocabulary",
    "VocabularyProjection",
    "as_vocabulary",
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
    "soft_label_loss",
]
