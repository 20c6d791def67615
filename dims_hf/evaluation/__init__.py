# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Scores with signatures, significance, and diagnostics: length, repetition, validity."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .bleu import bleu, chrf, legacy_bleu, paired_bootstrap, score
from .comparison import compare_with_bootstrap, find_record, gap_closed
from .evaluator import evaluate_model, measure
from .length import (
    equal_length_buckets,
    length_accuracy,
    length_buckets,
    length_top_k_accuracy,
    predict_lengths,
    reference_lengths,
)
from .metrics import METRICS, SystemOutput
from .repetition import repetition_rate
from .validity import verdict_shares


__all__ = [
    "METRICS",
    "SystemOutput",
    "TranslationMetric",
    "bleu",
    "chrf",
    "compare_with_bootstrap",
    "equal_length_buckets",
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
]


# Where names went that were here once; whoever wrote them into a script shall not have to look.
_MOVED = {"load_model": "dims_hf.translation", "translate": "dims_hf.translation", "run_evaluation": "dims_hf.reports"}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    # its base class comes from `evaluate`, which translating and scoring do not need
    if name == "TranslationMetric":
        from .evaluate_metric import TranslationMetric

        return TranslationMetric
    if name in _MOVED:
        return getattr(import_module(_MOVED[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
