# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Training in fp16 with a real gradient scaler, on the CPU: skipped updates leave everything where it was."""

from __future__ import annotations

import pytest
import torch
from accelerate.state import AcceleratorState


SCHEDULE = {"lr_scheduler_type": "linear", "warmup_steps": 0, "learning_rate": 2e-3}


@pytest.fixture
def in_fp16(monkeypatch):
    """Makes a trainer compute in fp16 autocast, its gradients scaled, as accelerate does on a GPU."""

    def prepare(trainer, init_scale):
        monkeypatch.setitem(AcceleratorState._shared_state, "_mixed_precision", "fp16")
        trainer.accelerator.native_amp = True
        trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=init_scale)
        return trainer

    return prepare


@pytest.fixture(params=["adamw_torch_fused", "adamw_torch"])
def optim(request):
    return request.param


def learning_rates(trainer):
    return [entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry]


def test_skipped_updates_move_neither_student_nor_schedule_nor_teacher(
    make_dims_trainer, in_fp16, trained, largest_difference, optim
):
    trainer = in_fp16(make_dims_trainer(max_steps=4, optim=optim, ema_decay=0.5, **SCHEDULE), 2.0**100)
    trainer.train()
    assert trainer.state.global_step == trainer.gradient_scale.num_skipped == 4
    assert trainer.accelerator.scaler.get_scale() == 2.0**96
    assert largest_difference(trainer.model, trained) == 0
    assert largest_difference(trainer.teacher, trained) == 0
    assert learning_rates(trainer) == [2e-3] * 4
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["skipped_updates"] for entry in log] == [1, 2, 3, 4]
    assert [entry["gradient_scale"] for entry in log] == [2.0**exponent for exponent in (99, 98, 97, 96)]


def test_updates_after_skipped_ones_are_those_of_a_run_without_them(
    make_teacher_trainer, in_fp16, largest_difference, optim
):
    """Both optimisers, at a scale that is too large at first: the schedule starts with the first real update."""
    trainer = in_fp16(make_teacher_trainer(max_steps=12, optim=optim, **SCHEDULE), 2.0**24)
    trainer.train()
    skipped = trainer.gradient_scale.num_skipped
    assert 1 <= skipped <= 10
    expected = [2e-3] * (skipped + 1) + [2e-3 * (12 - done) / 12 for done in range(1, 12 - skipped)]
    assert learning_rates(trainer) == pytest.approx(expected)
    assert largest_difference(trainer.model, make_teacher_trainer(folder="untrained").model) > 0


def test_fused_and_plain_optimiser_skip_alike(make_teacher_trainer, in_fp16, largest_difference):
    trainers = []
    for optim in ("adamw_torch_fused", "adamw_torch"):
        trainer = in_fp16(make_teacher_trainer(folder=optim, max_steps=10, optim=optim, **SCHEDULE), 2.0**24)
        trainer.train()
        trainers.append(trainer)
    first, second = trainers
    assert first.gradient_scale.num_skipped == second.gradient_scale.num_skipped > 0
    assert learning_rates(first) == learning_rates(second)
    assert largest_difference(first.model, second.model, up_to_rounding=True) < 1e-4


@pytest.mark.parametrize(("kind", "clipping"), [("teacher", 0.0), ("dims", 1.0), ("imputer", 1.0)])
def test_scale_that_falls_to_nothing_stops_the_run_in_one_line(request, in_fp16, kind, clipping):
    make_trainer = request.getfixturevalue(f"make_{kind}_trainer")
    trainer = in_fp16(make_trainer(max_steps=50, max_grad_norm=clipping), 2.0**-10)
    next(trainer.model.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(FloatingPointError) as stop:
        trainer.train()
    assert str(stop.value) == (
        "The gradients overflow at every scale: update 4 was skipped like those before it, and the scale is down to "
        "6.10352e-05. Lower learning_rate, set max_grad_norm (e.g. 1.0), or train in bf16 or fp32; then resume from "
        "the last checkpoint."
    )


def test_loss_that_overflows_is_skipped_for_a_while_then_stops(make_teacher_trainer, in_fp16, monkeypatch):
    trainer = in_fp16(make_teacher_trainer(max_steps=50), 2.0**16)
    compute = trainer.compute_loss
    monkeypatch.setattr(trainer, "compute_loss", lambda *args, **kwargs: compute(*args, **kwargs) * float("inf"))
    with pytest.raises(FloatingPointError, match="The loss is inf at step 21. Lower learning_rate"):
        trainer.train()
    assert trainer.gradient_scale.num_skipped == 20


def test_resumed_run_goes_on_with_its_scale_and_needs_it(make_teacher_trainer, in_fp16, tmp_path, largest_difference):
    settings = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, **SCHEDULE}
    whole = in_fp16(make_teacher_trainer(folder="whole", **settings), 2.0**24)
    whole.train()
    checkpoint = tmp_path / "whole" / "checkpoint-3"
    resumed = in_fp16(make_teacher_trainer(folder="resumed", **settings), 2.0**24)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert resumed.accelerator.scaler.state_dict() == whole.accelerator.scaler.state_dict()
    assert largest_difference(resumed.model, whole.model) == 0
    assert learning_rates(resumed) == learning_rates(whole)
    (checkpoint / "scaler.pt").unlink()
    with pytest.raises(ValueError, match="scaler.pt .* is missing"):
        in_fp16(make_teacher_trainer(folder="again", **settings), 2.0**24).train(
            resume_from_checkpoint=str(checkpoint)
        )
