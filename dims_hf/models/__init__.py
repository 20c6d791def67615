# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Model families: configuration, modeling, generation and pipeline. These files travel with every checkpoint."""

from .alignment import best_alignment, collapse_alignment, constrained_ctc_nll
from .configuration_cmlm import CMLMConfig
from .configuration_cmlmc import CMLMCConfig
from .configuration_imputer import ImputerConfig
from .configuration_nat import LengthPredictionConfig, NATConfig
from .decoding_strategies import STRATEGIES
from .decoding_strategy import DecodingRequest, DecodingSettings, DecodingStrategy, EncodedSources
from .generation_nat import DecodingStep, NATGenerateOutput, NATGenerationMixin
from .modeling_cmlm import CMLMForConditionalGeneration, CMLMModel
from .modeling_cmlmc import CMLMCForConditionalGeneration, CMLMCModel
from .modeling_imputer import ImputerForConditionalGeneration, ImputerModel
from .modeling_nat import NATSeq2SeqLMOutput
from .pipeline_translation import NATTranslationPipeline


# model_type -> (configuration, base model, translation model); one line per new family.
MODELS = {
    "cmlm": (CMLMConfig, CMLMModel, CMLMForConditionalGeneration),
    "cmlmc": (CMLMCConfig, CMLMCModel, CMLMCForConditionalGeneration),
    "imputer": (ImputerConfig, ImputerModel, ImputerForConditionalGeneration),
}

__all__ = [
    "MODELS",
    "STRATEGIES",
    "CMLMCConfig",
    "CMLMCForConditionalGeneration",
    "CMLMCModel",
    "CMLMConfig",
    "CMLMForConditionalGeneration",
    "CMLMModel",
    "DecodingRequest",
    "DecodingSettings",
    "DecodingStep",
    "DecodingStrategy",
    "EncodedSources",
    "ImputerConfig",
    "ImputerForConditionalGeneration",
    "ImputerModel",
    "LengthPredictionConfig",
    "NATConfig",
    "NATGenerateOutput",
    "NATGenerationMixin",
    "NATSeq2SeqLMOutput",
    "NATTranslationPipeline",
    "best_alignment",
    "collapse_alignment",
    "constrained_ctc_nll",
]
