# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The tables and figures of the DiMS paper, regenerated on a corpus: plan, runs, results, report."""

from dims_hf.reproduction.budgets import BUDGETS, Budget, find_budget
from dims_hf.reproduction.command import reproduce
from dims_hf.reproduction.plan import EXPERIMENTS, Experiment
from dims_hf.reproduction.running import Runner
from dims_hf.reproduction.study import Run, Study


__all__ = ["BUDGETS", "EXPERIMENTS", "Budget", "Experiment", "Run", "Runner", "Study", "find_budget", "reproduce"]
