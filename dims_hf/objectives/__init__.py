# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Training objectives as pure functions: tensors in, `Loss(total, parts)` out."""

from dims_hf.objectives.axe import axe_loss
from dims_hf.objectives.cmlm import cmlm_loss
from dims_hf.objectives.cmlmc import cmlmc_loss, encoder_prediction_loss
from dims_hf.objectives.crf import crf_loss
from dims_hf.objectives.dims import dims_loss, hidden_distance, soft_label_loss
from dims_hf.objectives.divergences import DIVERGENCES
from dims_hf.objectives.engine import RELAXATIONS, engine_loss, expected_embeddings
from dims_hf.objectives.glancing import count_glances
from dims_hf.objectives.graph import graph_dims_loss, graph_loss, graph_ngram_loss
from dims_hf.objectives.hints import attention_hint_loss, hidden_hint_loss, similarity_loss
from dims_hf.objectives.imputer import imputer_dims_loss, imputer_loss
from dims_hf.objectives.length import length_classes, length_loss
from dims_hf.objectives.multi_reference import anneal_references, multi_reference_loss
from dims_hf.objectives.ngrams import bag_of_ngrams_loss, ctc_ngram_loss
from dims_hf.objectives.oaxe import oaxe_loss
from dims_hf.objectives.projection import VocabularyProjection
from dims_hf.objectives.reduction import Loss, masked_accuracy
from dims_hf.objectives.risk import gleu, minimum_risk_loss
from dims_hf.objectives.smart import make_smart_inputs, smart_loss
from dims_hf.objectives.vocabulary import DenseVocabulary, ProjectedVocabulary, Vocabulary, as_vocabulary


__all__ = [
    "DIVERGENCES",
    "DenseVocabulary",
    "Loss",
    "ProjectedVocabulary",
    "RELAXATIONS",
    "Vocabulary",
    "VocabularyProjection",
    "anneal_references",
    "as_vocabulary",
    "attention_hint_loss",
    "axe_loss",
    "bag_of_ngrams_loss",
    "cmlm_loss",
    "cmlmc_loss",
    "count_glances",
    "crf_loss",
    "ctc_ngram_loss",
    "dims_loss",
    "encoder_prediction_loss",
    "engine_loss",
    "expected_embeddings",
    "gleu",
    "graph_dims_loss",
    "graph_loss",
    "graph_ngram_loss",
    "hidden_distance",
    "hidden_hint_loss",
    "imputer_dims_loss",
    "imputer_loss",
    "length_classes",
    "length_loss",
    "make_smart_inputs",
    "masked_accuracy",
    "minimum_risk_loss",
    "multi_reference_loss",
    "oaxe_loss",
    "similarity_loss",
    "smart_loss",
    "soft_label_loss",
]
