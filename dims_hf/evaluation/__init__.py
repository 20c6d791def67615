# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Translation, scores, diagnostics, reports, figures and model cards."""

from __future__ import annotations

from typing import Any

from .bleu import bleu, chrf, legacy_bleu, paired_bootstrap, score
from .comparison import compare_with_bootstrap, find_record, gap_closed
from .evaluator import evaluate_model, measure
from .figures import plot_quality_versus_iterations
from .length import length_accuracy, length_buckets, length_top_k_accuracy, predict_lengths, reference_lengths
from .loading import load_model
from .metrics import METRICS, SystemOutput
from .model_card import create_model_card, save_model_card
from .provenance import hardware, provenance
from .repetition import repetition_rate
from .report import (
    load_results,
    make_results,
    markdown_table,
    plain_table,
    results_table,
    save_results,
    write_table,
)
from .run import run_evaluation, subsets_from_columns, write_evaluation
from .translation import Timing, Translation, translate, translate_timed
from .validity import verdict_shares


__all__ = [
    "METRICS",
    "SystemOutput",
    "Timing",
    "Translation",
    "TranslationMetric",
    "bleu",
    "chrf",
    "compare_with_bootstrap",
    "create_model_card",
    "evaluate_model",
    "find_record",
    "gap_closed",
    "hardware",
    "legacy_bleu",
    "length_accuracy",
    "length_buckets",
    "length_top_k_accuracy",
    "load_model",
    "load_results",
    "make_results",
    "markdown_table",
    "measure",
    "paired_bootstrap",
    "plain_table",
    "plot_quality_versus_iterations",
    "predict_lengths",
    "provenance",
    "reference_lengths",
    "repetition_rate",
    "results_table",
    "run_evaluation",
    "save_model_card",
    "save_results",
    "score",
    "subsets_from_columns",
    "translate",
    "translate_timed",
    "verdict_shares",
    "write_evaluation",
    "write_table",
]


def __getattr__(name: str) -> Any:
    # its base class comes from `evaluate`, which translating and scoring do not need
    if name == "TranslationMetric":
        from .evaluate_metric import TranslationMetric

        return TranslationMetric
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
