# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What makes a teacher: its moving average, its rollout and its own translations as targets."""

from dims_hf.distillation.ema import EMATeacher
from dims_hf.distillation.graph_rollout import GraphRollout, roll_out_graphs
from dims_hf.distillation.rollout import TeacherRollout, roll_out_teacher
from dims_hf.distillation.selection import score_targets
from dims_hf.distillation.synthesis import synthesize_targets


__all__ = [
    "EMATeacher",
    "GraphRollout",
    "TeacherRollout",
    "roll_out_graphs",
    "roll_out_teacher",
    "score_targets",
    "synthesize_targets",
]
