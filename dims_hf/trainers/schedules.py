# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Learning-rate schedules: the reference's, which transformers' `inverse_sqrt` does not reproduce, and short runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from transformers import SchedulerType
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION


class Shape(NamedTuple):
    """Updates of warm-up, and of the decay at the end where the schedule has one of a length of its own."""

    warmup_steps: int
    decay_steps: int | None = None


def fit_shape(shape: Shape, num_steps: int, *, falls_to_end: bool = True) -> Shape:
    """
    Warm-up and decay of a run of `num_steps` updates: as they are where they fit, else shortened alike.

    A warm-up that would take the whole run becomes a tenth of it.

    Args:
        shape ([`Shape`]): what was asked for.
        num_steps (`int`): updates of the run.
        falls_to_end (`bool`): whether the rate falls from the end of the warm-up to that of the run, and so needs at
            least one update after it; that of inverse square root goes its own way however long the run is.
    """
    warmup, decay = shape
    if decay is None:
        # of an inverse square root, a warm-up may end with the run itself
        return shape if warmup < num_steps + (not falls_to_end) else Shape(num_steps // 10)
    if warmup + decay <= num_steps:
        return shape
    warmup = num_steps * warmup // (warmup + decay)
    return Shape(warmup, num_steps - warmup)


def check_schedule(name: str, settings: Mapping[str, Any] | None) -> None:
    """
    Refuses settings that a schedule does not have.

    Args:
        name (`str`): `fairseq_inverse_sqrt`, which has none, or one of transformers.
        settings (`Mapping[str, Any]`, *optional*): `lr_scheduler_kwargs`.

    Raises:
        ValueError: naming the first of them, and those there are.
    """
    known: list[str] = []
    if name in tuple(SchedulerType):
        parameters = inspect.signature(TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(name)]).parameters
        if "kwargs" in parameters:  # torch's own schedules, which check for themselves
            return
        passed = ("optimizer", "num_warmup_steps", "num_training_steps", "last_epoch")
        known = [each for each in parameters if each not in passed]
    for setting in settings or ():
        if setting not in known:
            raise ValueError(
                f"lr_scheduler_kwargs has {setting!r}, which lr_scheduler_type={name} does not know. It takes "
                f"{', '.join(known) or 'none'}."
            )


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
    # torch multiplies the group's own rate, which is the peak
    return lambda num_updates: fairseq_inverse_sqrt(num_updates, peak=peak, warmup_steps=warmup_steps) / peak
