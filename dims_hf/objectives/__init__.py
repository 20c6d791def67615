# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Training objectives as pure functions: tensors in, `Loss(total, parts)` out."""

from dims_hf.objectives.axe import axe_loss
from dims_hf.objectives.cmlm import cmlm_loss
from dims_hf.objectives.cmlmc import cmlmc_loss, encoder_prediction_loss
from dims_hf.objectives.dims import dims_loss, hidden_distance, soft_label_loss
from dims_hf.objectives.divergences import DIVERGENCES
from dims_hf.objectives.glancing import count_glances
from dims_hf.objectives.imputer import imputer_dims_loss, imputer_loss
from dims_hf.objectives.length import length_classes, length_loss
from dims_hf.objectives.ngrams import bag_of_ngrams_loss, ctc_ngram_loss
from dims_hf.objectives.oaxe import oaxe_loss
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
    "axe_loss",
    "bag_of_ngrams_loss",
    "cmlm_loss",
    "cmlmc_loss",
    "count_glances",
    "ctc_ngram_loss",
    "dims_loss",
    "encoder_prediction_loss",
    "hidden_distance",
    "imputer_dims_loss",
    "imputer_loss",
    "length_classes",
    "length_loss",
    "masked_accuracy",
    "oaxe_loss",
    "soft_label_loss",
]
