# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""In which precision a run computes."""

from __future__ import annotations

import logging
from functools import cache

import torch
from transformers import TrainingArguments

from dims_hf._machine import multiplies_bf16
from dims_hf.objectives.multiplication import can_multiply_with_onednn
from dims_hf.reports.provenance import processor_name


logger = logging.getLogger(__name__)


@cache
def is_faster_with_onednn() -> bool:
    """Whether fp32 is faster with oneDNN: this processor has AVX-512, which MKL uses on those of its maker alone."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    has_wide_registers = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return has_wide_registers and "Intel" not in processor_name() and can_multiply_with_onednn()


def forget_precision(model: torch.nn.Module) -> None:
    """
    Lets a model that was trained before be trained in another precision.

    accelerate wraps `forward` in the precision of the first run, and then leaves the model alone: a later run in bf16
    or fp16 would compute in fp32, and none would say so.
    """
    prepared = model.__dict__.pop("_is_accelerate_prepared", False)
    if prepared and model.__dict__.pop("_original_forward", None) is not None:
        model.__dict__.pop("forward", None)


def settle_precision(args: TrainingArguments) -> None:
    """
    Lets `bf16` mean fp32 on a CPU that cannot multiply in bf16, and says so: a recipe then runs on any machine.

    Args:
        args (`TrainingArguments`): with `use_cpu` decided, before transformers' own checks set up the precision.
    """
    if args.bf16 and args.use_cpu and not multiplies_bf16():
        logger.warning("This CPU has no bf16 products, which would take tens of times as long as fp32: bf16 is off.")
        args.bf16 = False
