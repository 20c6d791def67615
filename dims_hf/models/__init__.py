# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Model families: configuration, modeling, generation and pipeline. These files travel with every checkpoint.

Every name is imported when it is first used: the rules for source texts (`source_text`) are needed without torch, and
the pipeline needs transformers' pipelines, which take seconds to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from .alignment import (
        best_alignment as best_alignment,
        collapse_alignment as collapse_alignment,
        constrained_ctc_nll as constrained_ctc_nll,
        prefix_beam_search as prefix_beam_search,
    )
    from .configuration_alignart import AligNARTConfig as AligNARTConfig
    from .configuration_cmlm import CMLMConfig as CMLMConfig
    from .configuration_cmlm_crf import CMLMCRFConfig as CMLMCRFConfig
    from .configuration_cmlmc import CMLMCConfig as CMLMCConfig
    from .configuration_dat import DATConfig as DATConfig
    from .configuration_disco import DisCoConfig as DisCoConfig
    from .configuration_imputer import ImputerConfig as ImputerConfig
    from .configuration_insertion import InsertionConfig as InsertionConfig
    from .configuration_levenshtein import LevenshteinConfig as LevenshteinConfig
    from .configuration_nat import LengthPredictionConfig as LengthPredictionConfig, NATConfig as NATConfig
    from .configuration_refine import RefineConfig as RefineConfig
    from .crf import crf_marginals as crf_marginals, crf_nll as crf_nll, crf_viterbi as crf_viterbi
    from .edits import edit_oracle as edit_oracle
    from .generation_nat import (
        DecodingStep as DecodingStep,
        NATGenerateOutput as NATGenerateOutput,
        NATGenerationMixin as NATGenerationMixin,
    )
    from .graph import graph_best_path as graph_best_path, graph_nll as graph_nll
    from .modeling_alignart import (
        AligNARTForConditionalGeneration as AligNARTForConditionalGeneration,
        AligNARTModel as AligNARTModel,
    )
    from .modeling_cmlm import CMLMForConditionalGeneration as CMLMForConditionalGeneration, CMLMModel as CMLMModel
    from .modeling_cmlm_crf import (
        CMLMCRFForConditionalGeneration as CMLMCRFForConditionalGeneration,
        CMLMCRFModel as CMLMCRFModel,
    )
    from .modeling_cmlmc import (
        CMLMCForConditionalGeneration as CMLMCForConditionalGeneration,
        CMLMCModel as CMLMCModel,
    )
    from .modeling_dat import DATForConditionalGeneration as DATForConditionalGeneration, DATModel as DATModel
    from .modeling_disco import (
        DisCoForConditionalGeneration as DisCoForConditionalGeneration,
        DisCoModel as DisCoModel,
    )
    from .modeling_imputer import (
        ImputerForConditionalGeneration as ImputerForConditionalGeneration,
        ImputerModel as ImputerModel,
    )
    from .modeling_insertion import (
        InsertionForConditionalGeneration as InsertionForConditionalGeneration,
        InsertionModel as InsertionModel,
    )
    from .modeling_levenshtein import (
        LevenshteinForConditionalGeneration as LevenshteinForConditionalGeneration,
        LevenshteinModel as LevenshteinModel,
    )
    from .modeling_nat import NATSeq2SeqLMOutput as NATSeq2SeqLMOutput
    from .modeling_pretrained_encoder import NATPretrainedEncoder as NATPretrainedEncoder
    from .modeling_refine import (
        RefineForConditionalGeneration as RefineForConditionalGeneration,
        RefineModel as RefineModel,
    )
    from .pipeline_translation import NATTranslationPipeline as NATTranslationPipeline
    from .tokenization_source_target import SourceTargetTokenizer as SourceTargetTokenizer

    MODELS: dict[str, tuple[type, type, type]]

# model_type -> configuration, base model and translation model, the classes of `MODELS`; one line per new family.
_FAMILIES = {
    "alignart": ("AligNARTConfig", "AligNARTModel", "AligNARTForConditionalGeneration"),
    "cmlm": ("CMLMConfig", "CMLMModel", "CMLMForConditionalGeneration"),
    "cmlm_crf": ("CMLMCRFConfig", "CMLMCRFModel", "CMLMCRFForConditionalGeneration"),
    "cmlmc": ("CMLMCConfig", "CMLMCModel", "CMLMCForConditionalGeneration"),
    "dat": ("DATConfig", "DATModel", "DATForConditionalGeneration"),
    "disco": ("DisCoConfig", "DisCoModel", "DisCoForConditionalGeneration"),
    "imputer": ("ImputerConfig", "ImputerModel", "ImputerForConditionalGeneration"),
    "insertion": ("InsertionConfig", "InsertionModel", "InsertionForConditionalGeneration"),
    "levenshtein": ("LevenshteinConfig", "LevenshteinModel", "LevenshteinForConditionalGeneration"),
    "refine": ("RefineConfig", "RefineModel", "RefineForConditionalGeneration"),
}

_NAMES = {
    "alignment": ("best_alignment", "collapse_alignment", "constrained_ctc_nll", "prefix_beam_search"),
    "configuration_alignart": ("AligNARTConfig",),
    "configuration_cmlm": ("CMLMConfig",),
    "configuration_cmlm_crf": ("CMLMCRFConfig",),
    "configuration_cmlmc": ("CMLMCConfig",),
    "configuration_dat": ("DATConfig",),
    "configuration_disco": ("DisCoConfig",),
    "configuration_imputer": ("ImputerConfig",),
    "configuration_insertion": ("InsertionConfig",),
    "configuration_levenshtein": ("LevenshteinConfig",),
    "configuration_nat": ("LengthPredictionConfig", "NATConfig"),
    "configuration_refine": ("RefineConfig",),
    "crf": ("crf_marginals", "crf_nll", "crf_viterbi"),
    "decoding_strategies": ("STRATEGIES",),
    "decoding_strategy": ("DecodingRequest", "DecodingSettings", "DecodingStrategy", "EncodedSources"),
    "edits": ("edit_oracle",),
    "generation_nat": ("DecodingStep", "NATGenerateOutput", "NATGenerationMixin"),
    "graph": ("graph_best_path", "graph_nll"),
    "modeling_alignart": ("AligNARTForConditionalGeneration", "AligNARTModel"),
    "modeling_cmlm": ("CMLMForConditionalGeneration", "CMLMModel"),
    "modeling_cmlm_crf": ("CMLMCRFForConditionalGeneration", "CMLMCRFModel"),
    "modeling_cmlmc": ("CMLMCForConditionalGeneration", "CMLMCModel"),
    "modeling_dat": ("DATForConditionalGeneration", "DATModel"),
    "modeling_disco": ("DisCoForConditionalGeneration", "DisCoModel"),
    "modeling_imputer": ("ImputerForConditionalGeneration", "ImputerModel"),
    "modeling_insertion": ("InsertionForConditionalGeneration", "InsertionModel"),
    "modeling_levenshtein": ("LevenshteinForConditionalGeneration", "LevenshteinModel"),
    "modeling_nat": ("NATSeq2SeqLMOutput",),
    "modeling_pretrained_encoder": ("NATPretrainedEncoder",),
    "modeling_refine": ("RefineForConditionalGeneration", "RefineModel"),
    "pipeline_translation": ("NATTranslationPipeline",),
    "tokenization_source_target": ("SourceTargetTokenizer",),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(["MODELS", *_MODULE_OF])


def __getattr__(name: str) -> object:
    """Public names, imported on first use (PEP 562)."""
    if name == "MODELS":
        value: object = {family: tuple(map(__getattr__, names)) for family, names in _FAMILIES.items()}
    elif name in _MODULE_OF:
        value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
