# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What is written: results files, tables, figures, model and dataset cards, provenance."""

from dims_hf.reports.evaluation import run_evaluation, subsets_from_columns, write_evaluation
from dims_hf.reports.figures import plot_quality_versus_iterations, plot_training
from dims_hf.reports.files import read_yaml, write_json, write_text
from dims_hf.reports.model_card import create_model_card, save_model_card
from dims_hf.reports.provenance import hardware, provenance, public, weights_checksum
from dims_hf.reports.results import load_results, make_results, save_results
from dims_hf.reports.table import markdown_table, plain_table, results_table, write_table


__all__ = [
    "create_model_card",
    "hardware",
    "load_results",
    "make_results",
    "markdown_table",
    "plain_table",
    "plot_quality_versus_iterations",
    "plot_training",
    "provenance",
    "public",
    "read_yaml",
    "results_table",
    "run_evaluation",
    "save_model_card",
    "save_results",
    "subsets_from_columns",
    "weights_checksum",
    "write_evaluation",
    "write_json",
    "write_table",
    "write_text",
]
