# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The reference's learning-rate curve, value by value."""

from __future__ import annotations

import pytest
import torch

from dims_hf.trainers.schedules import FairseqInverseSqrt, Shape, fairseq_inverse_sqrt, fit_shape


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


@pytest.mark.parametrize(
    ("shape", "num_steps", "expected"),
    [
        (Shape(300, 900), 1800, Shape(300, 900)),
        (Shape(300, 900), 1200, Shape(300, 900)),
        (Shape(300, 900), 60, Shape(15, 45)),
        (Shape(100), 101, Shape(100)),
        (Shape(100), 100, Shape(10)),
        (Shape(0, 50), 20, Shape(0, 20)),
    ],
)
def test_warm_up_and_decay_are_shortened_alike_where_they_do_not_fit(shape, num_steps, expected):
    assert fit_shape(shape, num_steps) == expected


def test_short_run_reaches_the_peak_and_decays(make_teacher_trainer, caplog):
    trainer = make_teacher_trainer(
        max_steps=8, warmup_steps=30, learning_rate=1e-3, lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": 90, "min_lr_ratio": 0.0},
    )  # fmt: skip
    trainer.train()
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    assert max(rates) == pytest.approx(1e-3) and rates[-1] < 2e-4
    assert "warmup_steps=30 and num_decay_steps=90 do not fit in a run of 8 updates: warm-up takes 2" in caplog.text
