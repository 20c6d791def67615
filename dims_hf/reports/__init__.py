# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What is written: results files, tables, figures, model and dataset cards, provenance."""

from dims_hf.reports.evaluation import run_evaluation, subsets_from_columns, write_evaluation
from dims_hf.reports.figures import plot_quality_versus_iterations
from dims_hf.reports.model_card import create_model_card, save_model_card
from dims_hf.reports.provenance import hardware, provenance
from dims_hf.reports.results import (
    load_results,
    make_results,
    markdown_table,
    plain_table,
    results_table,
    save_results,
    write_table,
)


__all__ = [
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
]
