# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The reference's learning-rate curve, value by value."""

from __future__ import annotations

import pytest
import torch

from dims_hf.trainers.schedules import FairseqInverseSqrt, fairseq_inverse_sqrt


@pytest.mark.parametrize(
    ("update", "expected"), [(1, 1e-7), (2, 1e-3), (3, 7.0711e-4), (4, 5.7735e-4), (5, 5e-4), (101, 1e-4)]
)
def test_fairseq_inverse_sqrt_without_warmup_is_that_of_dims(update, expected):
    for warmup_steps in (0, 1):
        rate = fairseq_inverse_sqrt(update - 1, peak=1e-3, warmup_steps=warmup_steps)
        assert rate == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("peak", "warmup_steps", "updates", "expected"),
    [
        (5e-4, 10_000, 5_000, 2.5005e-4),
        (5e-4, 10_000, 40_000, 2.5e-4),
        (5e-4, 10_000, 300_000, 9.1287e-5),
        (7e-4, 40_000, 20_000, 3.5005e-4),
        (7e-4, 40_000, 160_000, 3.5e-4),
    ],
)
def test_fairseq_inverse_sqrt_with_warmup_is_the_hand_value(peak, warmup_steps, updates, expected):
    assert fairseq_inverse_sqrt(updates, peak=peak, warmup_steps=warmup_steps) == pytest.approx(expected, rel=1e-4)


def test_scheduler_gives_each_group_its_curve_and_resumes():
    def make():
        groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (1e-3, 1e-2)]
        optimizer = torch.optim.SGD(groups)
        return optimizer, FairseqInverseSqrt(optimizer, warmup_steps=1)

    optimizer, scheduler = make()
    seen = []
    for _ in range(5):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert [rates[0] for rates in seen] == pytest.approx([1e-7, 1e-3, 7.0711e-4, 5.7735e-4, 5e-4], rel=1e-4)
    assert [rates[1] for rates in seen[1:]] == pytest.approx([1e-2, 7.0711e-3, 5.7735e-3, 5e-3], rel=1e-4)
    resumed_optimizer, resumed = make()
    resumed_optimizer.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    for pair in ((optimizer, scheduler), (resumed_optimizer, resumed)):
        pair[0].step()
        pair[1].step()
    assert resumed_optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    assert resumed.get_last_lr() == scheduler.get_last_lr()
