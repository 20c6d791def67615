# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Moving average: residuals by hand, what it shares with the student (nothing), and when it moves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from dims_hf import EMATeacher


def set_all(model, value):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)


def make_pair(make_model, decay, teacher_value=1.0, student_value=0.0):
    student = make_model()
    set_all(student, teacher_value)
    teacher = EMATeacher(student, decay=decay)
    set_all(student, student_value)
    return student, teacher


def test_ema_teacher_default_decay_is_the_papers(make_model):
    assert EMATeacher(make_model()).decay == 0.9992


def test_ema_teacher_after_one_update_keeps_decay_of_itself_in_tied_weights_too(make_model):
    student, teacher = make_pair(make_model, 0.9992)
    teacher.update(student)
    for name, value in teacher.model.state_dict().items():  # tied entries under all their names
        torch.testing.assert_close(value, torch.full_like(value, 0.9992), atol=1e-6, rtol=0, msg=name)
    embedding = teacher.model.model.shared.weight
    assert teacher.model.lm_head.weight is embedding
    assert teacher.model.model.decoder.embed_tokens.weight is embedding


def test_ema_teacher_after_100_updates_keeps_the_hand_residual(make_model):
    student, teacher = make_pair(make_model, 0.9992)
    for _ in range(100):
        teacher.update(student)
    for value in teacher.model.parameters():
        torch.testing.assert_close(value, torch.full_like(value, 0.923087), atol=2e-6, rtol=0)


def test_ema_teacher_moves_towards_the_student_which_stays(make_model):
    student, teacher = make_pair(make_model, 0.75, teacher_value=1.0, student_value=5.0)
    teacher.update(student)
    assert all(torch.equal(value, torch.full_like(value, 2.0)) for value in teacher.model.parameters())
    assert all(torch.equal(value, torch.full_like(value, 5.0)) for value in student.parameters())


@pytest.mark.parametrize(("decay", "expected"), [(1.0, 1.0), (0.0, 5.0)])
def test_ema_teacher_of_extreme_decay_is_fixed_or_the_student(make_model, decay, expected):
    student, teacher = make_pair(make_model, decay, student_value=5.0)
    teacher.update(student)
    assert all(torch.equal(value, torch.full_like(value, expected)) for value in teacher.model.parameters())


@pytest.mark.parametrize("decay", [-0.1, 1.0001, float("nan")])
def test_ema_teacher_refuses_a_decay_outside_the_unit_interval(make_model, decay):
    with pytest.raises(ValueError, match=r"ema_decay must lie in \[0, 1\], got .* The paper uses 0.9992"):
        EMATeacher(make_model(), decay=decay)


def test_ema_teacher_copies_buffers(make_model):
    student = make_model()
    student.register_buffer("counter", torch.tensor(3))
    teacher = EMATeacher(student, decay=0.9)
    student.counter.fill_(7)
    teacher.update(student)
    assert teacher.model.counter.item() == 7


def test_ema_teacher_of_a_bf16_student_is_held_in_fp32(make_model):
    student = make_model().bfloat16()
    set_all(student, 1.0)
    teacher = EMATeacher(student, decay=0.9992)
    assert {value.dtype for value in teacher.model.parameters()} == {torch.float32}
    assert teacher.model.lm_head.weight is teacher.model.model.shared.weight
    set_all(student, 0.0)
    for _ in range(100):
        teacher.update(student)  # in bf16, 0.9992 rounds to 1 and nothing would move
    value = next(teacher.model.parameters())
    torch.testing.assert_close(value, torch.full_like(value, 0.923087), atol=2e-6, rtol=0)
    assert {value.dtype for value in student.parameters()} == {torch.bfloat16}


def test_ema_teacher_is_a_separate_model_in_evaluation_mode_without_gradients(make_model, tmp_path):
    student = make_model().train()
    before = student.state_dict().keys()
    teacher = EMATeacher(student)
    assert isinstance(teacher, TrainerCallback)
    assert student.training and not any(module.training for module in teacher.model.modules())
    assert not any(value.requires_grad for value in teacher.model.parameters())
    assert all(value.requires_grad for value in student.parameters())
    storages = {value.data_ptr() for value in student.parameters()}
    assert not storages & {value.data_ptr() for value in teacher.model.parameters()}
    assert student.state_dict().keys() == before
    student.save_pretrained(tmp_path)
    assert len(load_file(tmp_path / "model.safetensors")) == len(list(student.parameters()))


def test_ema_teacher_update_leaves_no_graph(make_model):
    student, teacher = make_pair(make_model, 0.5)
    teacher.update(student)
    assert not any(value.requires_grad or value.grad_fn for value in teacher.model.parameters())


def test_ema_teacher_refuses_another_architecture(make_model):
    with pytest.raises(ValueError, match="differ in parameters, e.g. .*Use one architecture"):
        EMATeacher(make_model()).update(make_model(decoder_layers=1))


@pytest.mark.parametrize(("skipped", "expected"), [(True, 1.0), (False, 0.5)])
def test_ema_teacher_moves_after_updates_except_skipped_ones(make_model, skipped, expected):
    student, teacher = make_pair(make_model, 0.5)
    optimizer = SimpleNamespace(step_was_skipped=skipped)
    teacher.on_step_end(None, None, None, model=student, optimizer=optimizer)
    assert all(torch.equal(value, torch.full_like(value, expected)) for value in teacher.model.parameters())


def test_ema_teacher_moves_with_a_plain_optimizer(make_model):
    student, teacher = make_pair(make_model, 0.5)
    teacher.on_step_end(None, None, None, model=student, optimizer=torch.optim.SGD(student.parameters()))
    assert next(teacher.model.parameters()).flatten()[0].item() == 0.5
