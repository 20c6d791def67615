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
    )
    from dims_hf.data import (
        SPECIAL_TOKENS as SPECIAL_TOKENS,
    )
    from dims_hf.data import (
        TranslationCollator as TranslationCollator,
    )
    from dims_hf.data import (
        add_blank as add_blank,
    )
    from dims_hf.data import (
        check_same_tokenizer as check_same_tokenizer,
    )
    from dims_hf.data import (
        corpus_fingerprint as corpus_fingerprint,
    )
    from dims_hf.data import (
        encode_corpus as encode_corpus,
    )
    from dims_hf.data import (
        load_corpus as load_corpus,
    )
    from dims_hf.data import (
        load_sentences as load_sentences,
    )
    from dims_hf.data import (
        save_tokenizer as save_tokenizer,
    )
    from dims_hf.data import (
        tokenizer_fingerprint as tokenizer_fingerprint,
    )
    from dims_hf.data import (
        train_tokenizer as train_tokenizer,
    )
    from dims_hf.distillation import (
        EMATeacher as EMATeacher,
    )
    from dims_hf.distillation import (
        TeacherRollout as TeacherRollout,
    )
    from dims_hf.distillation import (
        roll_out_teacher as roll_out_teacher,
    )
    from dims_hf.distillation import (
        synthesize_targets as synthesize_targets,
    )
    from dims_hf.evaluation import (
        METRICS as METRICS,
    )
    from dims_hf.evaluation import (
        SystemOutput as SystemOutput,
    )
    from dims_hf.evaluation import (
        TranslationMetric as TranslationMetric,
    )
    from dims_hf.evaluation import (
        bleu as bleu,
    )
    from dims_hf.evaluation import (
        chrf as chrf,
    )
    from dims_hf.evaluation import (
        compare_with_bootstrap as compare_with_bootstrap,
    )
    from dims_hf.evaluation import (
        evaluate_model as evaluate_model,
    )
    from dims_hf.evaluation import (
        find_record as find_record,
    )
    from dims_hf.evaluation import (
        gap_closed as gap_closed,
    )
    from dims_hf.evaluation import (
        legacy_bleu as legacy_bleu,
    )
    from dims_hf.evaluation import (
        length_accuracy as length_accuracy,
    )
    from dims_hf.evaluation import (
        length_buckets as length_buckets,
    )
    from dims_hf.evaluation import (
        length_top_k_accuracy as length_top_k_accuracy,
    )
    from dims_hf.evaluation import (
        measure as measure,
    )
    from dims_hf.evaluation import (
        paired_bootstrap as paired_bootstrap,
    )
    from dims_hf.evaluation import (
        predict_lengths as predict_lengths,
    )
    from dims_hf.evaluation import (
        reference_lengths as reference_lengths,
    )
    from dims_hf.evaluation import (
        repetition_rate as repetition_rate,
    )
    from dims_hf.evaluation import (
        score as score,
    )
    from dims_hf.evaluation import (
        verdict_shares as verdict_shares,
    )
    from dims_hf.export import (
        ImportedCheckpoint as ImportedCheckpoint,
    )
    from dims_hf.export import (
        OnnxTranslator as OnnxTranslator,
    )
    from dims_hf.export import (
        Shortlist as Shortlist,
    )
    from dims_hf.export import (
        build_shortlist as build_shortlist,
    )
    from dims_hf.export import (
        check_output_dir as check_output_dir,
    )
    from dims_hf.export import (
        corpus_shortlist as corpus_shortlist,
    )
    from dims_hf.export import (
        export_onnx as export_onnx,
    )
    from dims_hf.export import (
        import_fairseq_checkpoint as import_fairseq_checkpoint,
    )
    from dims_hf.export import (
        model_from_fairseq_state_dict as model_from_fairseq_state_dict,
    )
    from dims_hf.export import (
        write_graphs as write_graphs,
    )
    from dims_hf.export import (
        write_hub_folder as write_hub_folder,
    )
    from dims_hf.methods import (
        PRESETS as PRESETS,
    )
    from dims_hf.methods import (
        preset_values as preset_values,
    )
    from dims_hf.models import (
        MODELS as MODELS,
    )
    from dims_hf.models import (
        CMLMCConfig as CMLMCConfig,
    )
    from dims_hf.models import (
        CMLMCForConditionalGeneration as CMLMCForConditionalGeneration,
    )
    from dims_hf.models import (
        CMLMCModel as CMLMCModel,
    )
    from dims_hf.models import (
        CMLMConfig as CMLMConfig,
    )
    from dims_hf.models import (
        CMLMForConditionalGeneration as CMLMForConditionalGeneration,
    )
    from dims_hf.models import (
        CMLMModel as CMLMModel,
    )
    from dims_hf.models import (
        DecodingStep as DecodingStep,
    )
    from dims_hf.models import (
        ImputerConfig as ImputerConfig,
    )
    from dims_hf.models import (
        ImputerForConditionalGeneration as ImputerForConditionalGeneration,
    )
    from dims_hf.models import (
        ImputerModel as ImputerModel,
    )
    from dims_hf.models import (
        LengthPredictionConfig as LengthPredictionConfig,
    )
    from dims_hf.models import (
        NATConfig as NATConfig,
    )
    from dims_hf.models import (
        NATGenerateOutput as NATGenerateOutput,
    )
    from dims_hf.models import (
        NATGenerationMixin as NATGenerationMixin,
    )
    from dims_hf.models import (
        NATSeq2SeqLMOutput as NATSeq2SeqLMOutput,
    )
    from dims_hf.models import (
        NATTranslationPipeline as NATTranslationPipeline,
    )
    from dims_hf.models import (
        best_alignment as best_alignment,
    )
    from dims_hf.models import (
        collapse_alignment as collapse_alignment,
    )
    from dims_hf.models import (
        constrained_ctc_nll as constrained_ctc_nll,
    )
    from dims_hf.objectives import (
        OBJECTIVES as OBJECTIVES,
    )
    from dims_hf.objectives import (
        Loss as Loss,
    )
    from dims_hf.objectives import (
        VocabularyProjection as VocabularyProjection,
    )
    from dims_hf.objectives import (
        cmlm_loss as cmlm_loss,
    )
    from dims_hf.objectives import (
        cmlmc_loss as cmlmc_loss,
    )
    from dims_hf.objectives import (
        dims_loss as dims_loss,
    )
    from dims_hf.objectives import (
        encoder_prediction_loss as encoder_prediction_loss,
    )
    from dims_hf.objectives import (
        hidden_distance as hidden_distance,
    )
    from dims_hf.objectives import (
        imputer_dims_loss as imputer_dims_loss,
    )
    from dims_hf.objectives import (
        imputer_loss as imputer_loss,
    )
    from dims_hf.objectives import (
        length_classes as length_classes,
    )
    from dims_hf.objectives import (
        length_loss as length_loss,
    )
    from dims_hf.objectives import (
        masked_accuracy as masked_accuracy,
    )
    from dims_hf.objectives import (
        projected_cmlm_loss as projected_cmlm_loss,
    )
    from dims_hf.objectives import (
        projected_cmlmc_loss as projected_cmlmc_loss,
    )
    from dims_hf.objectives import (
        projected_dims_loss as projected_dims_loss,
    )
    from dims_hf.objectives import (
        projected_imputer_dims_loss as projected_imputer_dims_loss,
    )
    from dims_hf.objectives import (
        projected_imputer_loss as projected_imputer_loss,
    )
    from dims_hf.objectives import (
        soft_label_loss as soft_label_loss,
    )
    from dims_hf.reports import (
        create_model_card as create_model_card,
    )
    from dims_hf.reports import (
        hardware as hardware,
    )
    from dims_hf.reports import (
        load_results as load_results,
    )
    from dims_hf.reports import (
        make_results as make_results,
    )
    from dims_hf.reports import (
        markdown_table as markdown_table,
    )
    from dims_hf.reports import (
        plain_table as plain_table,
    )
    from dims_hf.reports import (
        plot_quality_versus_iterations as plot_quality_versus_iterations,
    )
    from dims_hf.reports import (
        provenance as provenance,
    )
    from dims_hf.reports import (
        results_table as results_table,
    )
    from dims_hf.reports import (
        run_evaluation as run_evaluation,
    )
    from dims_hf.reports import (
        save_model_card as save_model_card,
    )
    from dims_hf.reports import (
        save_results as save_results,
    )
    from dims_hf.reports import (
        subsets_from_columns as subsets_from_columns,
    )
    from dims_hf.reports import (
        write_evaluation as write_evaluation,
    )
    from dims_hf.reports import (
        write_table as write_table,
    )
    from dims_hf.trainers import (
        BestCheckpoints as BestCheckpoints,
    )
    from dims_hf.trainers import (
        CollapseError as CollapseError,
    )
    from dims_hf.trainers import (
        DiMSConfig as DiMSConfig,
    )
    from dims_hf.trainers import (
        DiMSTrainer as DiMSTrainer,
    )
    from dims_hf.trainers import (
        NATTrainer as NATTrainer,
    )
    from dims_hf.trainers import (
        NATTrainingArguments as NATTrainingArguments,
    )
    from dims_hf.trainers import (
        TokenBudgetBatchSampler as TokenBudgetBatchSampler,
    )
    from dims_hf.translation import (
        Timing as Timing,
    )
    from dims_hf.translation import (
        Translation as Translation,
    )
    from dims_hf.translation import (
        load_model as load_model,
    )
    from dims_hf.translation import (
        translate as translate,
    )
    from dims_hf.translation import (
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
        "Timing",
        "Translation",
        "load_model",
        "translate",
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
