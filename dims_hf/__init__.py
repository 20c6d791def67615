# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""dims_hf: fast non-autoregressive translation on Hugging Face Transformers, with DiMS distillation.

Importing the package makes transformers know its model families and the `translation` task, at once or as soon as
transformers is imported. Everything else is imported when it is first used, so that translating needs torch and
transformers alone, and an exported model neither.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from dims_hf._registration import register_when_imported


if TYPE_CHECKING:
    from dims_hf.data import (
        BLANK_TOKEN as BLANK_TOKEN,
        SPECIAL_TOKENS as SPECIAL_TOKENS,
        TranslationCollator as TranslationCollator,
        add_blank as add_blank,
        check_same_tokenizer as check_same_tokenizer,
        corpus_fingerprint as corpus_fingerprint,
        encode_corpus as encode_corpus,
        load_corpus as load_corpus,
        load_sentences as load_sentences,
        save_tokenizer as save_tokenizer,
        tokenizer_fingerprint as tokenizer_fingerprint,
        train_tokenizer as train_tokenizer,
    )
    from dims_hf.distillation import (
        EMATeacher as EMATeacher,
        TeacherRollout as TeacherRollout,
        roll_out_teacher as roll_out_teacher,
        synthesize_targets as synthesize_targets,
    )
    from dims_hf.evaluation import (
        METRICS as METRICS,
        SystemOutput as SystemOutput,
        TranslationMetric as TranslationMetric,
        bleu as bleu,
        chrf as chrf,
        compare_with_bootstrap as compare_with_bootstrap,
        evaluate_model as evaluate_model,
        find_record as find_record,
        gap_closed as gap_closed,
        legacy_bleu as legacy_bleu,
        length_accuracy as length_accuracy,
        length_buckets as length_buckets,
        length_top_k_accuracy as length_top_k_accuracy,
        measure as measure,
        paired_bootstrap as paired_bootstrap,
        predict_lengths as predict_lengths,
        reference_lengths as reference_lengths,
        repetition_rate as repetition_rate,
        score as score,
        verdict_shares as verdict_shares,
    )
    from dims_hf.export import (
        ImportedCheckpoint as ImportedCheckpoint,
        OnnxTranslator as OnnxTranslator,
        Shortlist as Shortlist,
        build_shortlist as build_shortlist,
        check_output_dir as check_output_dir,
        corpus_shortlist as corpus_shortlist,
        export_onnx as export_onnx,
        import_fairseq_checkpoint as import_fairseq_checkpoint,
        model_from_fairseq_state_dict as model_from_fairseq_state_dict,
        write_graphs as write_graphs,
        write_hub_folder as write_hub_folder,
    )
    from dims_hf.methods import (
        PRESETS as PRESETS,
        preset_values as preset_values,
    )
    from dims_hf.models import (
        MODELS as MODELS,
        CMLMCConfig as CMLMCConfig,
        CMLMCForConditionalGeneration as CMLMCForConditionalGeneration,
        CMLMCModel as CMLMCModel,
        CMLMConfig as CMLMConfig,
        CMLMForConditionalGeneration as CMLMForConditionalGeneration,
        CMLMModel as CMLMModel,
        DATConfig as DATConfig,
        DATForConditionalGeneration as DATForConditionalGeneration,
        DATModel as DATModel,
        DecodingStep as DecodingStep,
        ImputerConfig as ImputerConfig,
        ImputerForConditionalGeneration as ImputerForConditionalGeneration,
        ImputerModel as ImputerModel,
        LengthPredictionConfig as LengthPredictionConfig,
        NATConfig as NATConfig,
        NATGenerateOutput as NATGenerateOutput,
        NATGenerationMixin as NATGenerationMixin,
        NATSeq2SeqLMOutput as NATSeq2SeqLMOutput,
        NATTranslationPipeline as NATTranslationPipeline,
        best_alignment as best_alignment,
        collapse_alignment as collapse_alignment,
        constrained_ctc_nll as constrained_ctc_nll,
        crf_nll as crf_nll,
        crf_viterbi as crf_viterbi,
        edit_oracle as edit_oracle,
        graph_best_path as graph_best_path,
        graph_nll as graph_nll,
        prefix_beam_search as prefix_beam_search,
    )
    from dims_hf.objectives import (
        OBJECTIVES as OBJECTIVES,
        Loss as Loss,
        VocabularyProjection as VocabularyProjection,
        cmlm_loss as cmlm_loss,
        cmlmc_loss as cmlmc_loss,
        dims_loss as dims_loss,
        encoder_prediction_loss as encoder_prediction_loss,
        hidden_distance as hidden_distance,
        imputer_dims_loss as imputer_dims_loss,
        imputer_loss as imputer_loss,
        length_classes as length_classes,
        length_loss as length_loss,
        masked_accuracy as masked_accuracy,
        projected_cmlm_loss as projected_cmlm_loss,
        projected_cmlmc_loss as projected_cmlmc_loss,
        projected_dims_loss as projected_dims_loss,
        projected_imputer_dims_loss as projected_imputer_dims_loss,
        projected_imputer_loss as projected_imputer_loss,
        soft_label_loss as soft_label_loss,
    )
    from dims_hf.reports import (
        create_model_card as create_model_card,
        hardware as hardware,
        load_results as load_results,
        make_results as make_results,
        markdown_table as markdown_table,
        plain_table as plain_table,
        plot_quality_versus_iterations as plot_quality_versus_iterations,
        provenance as provenance,
        results_table as results_table,
        run_evaluation as run_evaluation,
        save_model_card as save_model_card,
        save_results as save_results,
        subsets_from_columns as subsets_from_columns,
        write_evaluation as write_evaluation,
        write_table as write_table,
    )
    from dims_hf.trainers import (
        BestCheckpoints as BestCheckpoints,
        CollapseError as CollapseError,
        DiMSConfig as DiMSConfig,
        DiMSTrainer as DiMSTrainer,
        NATTrainer as NATTrainer,
        NATTrainingArguments as NATTrainingArguments,
        TokenBudgetBatchSampler as TokenBudgetBatchSampler,
    )
    from dims_hf.translation import (
        RUNTIMES as RUNTIMES,
        Adaptive as Adaptive,
        Reranker as Reranker,
        Runtime as Runtime,
        Timing as Timing,
        Translation as Translation,
        load_checkpoint as load_checkpoint,
        load_model as load_model,
        open_runtime as open_runtime,
        quality_flags as quality_flags,
        translate as translate,
        translate_document as translate_document,
        translate_timed as translate_timed,
    )


__version__ = "0.2.0.dev0"

# room -> its public names. Editors and type checkers read the imports above, the interpreter this table; a test keeps
# both equal to the `__all__` of the rooms.
_ROOMS = {
    "models": (
        "CMLMCConfig",
        "CMLMCForConditionalGeneration",
        "CMLMCModel",
        "CMLMConfig",
        "CMLMForConditionalGeneration",
        "CMLMModel",
        "DATConfig",
        "DATForConditionalGeneration",
        "DATModel",
        "DecodingStep",
        "ImputerConfig",
        "ImputerForConditionalGeneration",
        "ImputerModel",
        "LengthPredictionConfig",
        "MODELS",
        "NATConfig",
        "NATGenerateOutput",
        "NATGenerationMixin",
        "NATSeq2SeqLMOutput",
        "NATTranslationPipeline",
        "best_alignment",
        "collapse_alignment",
        "constrained_ctc_nll",
        "crf_nll",
        "crf_viterbi",
        "edit_oracle",
        "graph_best_path",
        "graph_nll",
        "prefix_beam_search",
    ),
    "objectives": (
        "Loss",
        "OBJECTIVES",
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
    ),
    "distillation": (
        "EMATeacher",
        "TeacherRollout",
        "roll_out_teacher",
        "synthesize_targets",
    ),
    "methods": (
        "PRESETS",
        "preset_values",
    ),
    "data": (
        "BLANK_TOKEN",
        "SPECIAL_TOKENS",
        "TranslationCollator",
        "add_blank",
        "check_same_tokenizer",
        "corpus_fingerprint",
        "encode_corpus",
        "load_corpus",
        "load_sentences",
        "save_tokenizer",
        "tokenizer_fingerprint",
        "train_tokenizer",
    ),
    "translation": (
        "Adaptive",
        "RUNTIMES",
        "Reranker",
        "Runtime",
        "Timing",
        "Translation",
        "load_checkpoint",
        "load_model",
        "open_runtime",
        "quality_flags",
        "translate",
        "translate_document",
        "translate_timed",
    ),
    "evaluation": (
        "METRICS",
        "SystemOutput",
        "TranslationMetric",
        "bleu",
        "chrf",
        "compare_with_bootstrap",
        "evaluate_model",
        "find_record",
        "gap_closed",
        "legacy_bleu",
        "length_accuracy",
        "length_buckets",
        "length_top_k_accuracy",
        "measure",
        "paired_bootstrap",
        "predict_lengths",
        "reference_lengths",
        "repetition_rate",
        "score",
        "verdict_shares",
    ),
    "reports": (
        "create_model_card",
        "hardware",
        "load_results",
        "make_results",
        "markdown_table",
        "plain_table",
        "plot_quality_versus_iterations",
        "provenance",
        "results_table",
        "run_evaluation",
        "save_model_card",
        "save_results",
        "subsets_from_columns",
        "write_evaluation",
        "write_table",
    ),
    "trainers": (
        "BestCheckpoints",
        "CollapseError",
        "DiMSConfig",
        "DiMSTrainer",
        "NATTrainer",
        "NATTrainingArguments",
        "TokenBudgetBatchSampler",
    ),
    "export": (
        "ImportedCheckpoint",
        "OnnxTranslator",
        "Shortlist",
        "build_shortlist",
        "check_output_dir",
        "corpus_shortlist",
        "export_onnx",
        "import_fairseq_checkpoint",
        "model_from_fairseq_state_dict",
        "write_graphs",
        "write_hub_folder",
    ),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = ["__version__", *_ROOM_OF]

register_when_imported()


def __getattr__(name: str) -> object:
    """Public names of the rooms, imported when they are first used."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
