# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Trainers: teachers on masked references, students on their teacher's iterations."""

from dims_hf.trainers.averaging import average_models
from dims_hf.trainers.batching import TokenBudgetBatchSampler
from dims_hf.trainers.callbacks import CollapseError
from dims_hf.trainers.checkpoints import BestCheckpoints
from dims_hf.trainers.config import DiMSConfig, NATTrainingArguments
from dims_hf.trainers.dims_trainer import DiMSTrainer
from dims_hf.trainers.nat_trainer import NATTrainer
from dims_hf.trainers.warm_start import load_encoder_tokenizer, start_from_autoregressive, warm_start_encoder


__all__ = [
    "BestCheckpoints",
    "CollapseError",
    "DiMSConfig",
    "DiMSTrainer",
    "NATTrainer",
    "NATTrainingArguments",
    "TokenBudgetBatchSampler",
    "average_models",
    "load_encoder_tokenizer",
    "start_from_autoregressive",
    "warm_start_encoder",
]
