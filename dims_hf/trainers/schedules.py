# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The reference's learning-rate schedule, which transformers' `inverse_sqrt` does not reproduce."""

from __future__ import annotations

from collections.abc import Callable

import torch


def fairseq_inverse_sqrt(num_updates: int, *, peak: float, warmup_steps: float, initial: float = 1e-7) -> float:
    """
    Learning rate after `num_updates` optimiser updates: linear warm-up from `initial`, then peak · √(warm-up/updates).

    With `warmup_steps=1` the k-th update uses 1e-7 (k = 1), then peak/√(k − 1): DiMS's "no warm-up".

    Args:
        num_updates (`int`): updates done before.
        peak (`float`): learning rate at the end of warm-up.
        warmup_steps (`float`): at least 1 is used, since 0 would divide by zero.
        initial (`float`): learning rate of the first update.
    """
    warmup_steps = max(warmup_steps, 1)
    if num_updates < warmup_steps:
        return initial + num_updates * (peak - initial) / warmup_steps
    return peak * (warmup_steps / num_updates) ** 0.5


class FairseqInverseSqrt(torch.optim.lr_scheduler.LambdaLR):
    """[`fairseq_inverse_sqrt`] as a torch scheduler; the peak is each parameter group's own learning rate."""

    def __init__(self, optimizer: torch.optim.Optimizer, warmup_steps: float):
        peaks = [group["lr"] for group in optimizer.param_groups]
        super().__init__(optimizer, [_relative_schedule(peak, warmup_steps) for peak in peaks])


def _relative_schedule(peak: float, warmup_steps: float) -> Callable[[int], float]:
    return lambda num_updates: fairseq_inverse_sqrt(num_updates, peak=peak, warmup_steps=warmup_steps) / peak
