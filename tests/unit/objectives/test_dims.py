# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The DiMS loss: hand values of both terms, packing, gradients, precision."""

from __future__ import annotations

import pytest
import torch

from dims_hf import dims_loss
from dims_hf.objectives import hidden_distance, soft_label_loss


STUDENT = torch.tensor([[1.0, 2.0, 0.0, -1.0], [0.0, 0.0, 3.0, 1.0]])
TEACHER = torch.tensor([[2.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]])
TEACHER_HIDDEN = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]])
STUDENT_HIDDEN = torch.tensor([[0.0, 0.0], [0.0, 2.0], [1.0, 0.0]])


def random_batch(seed=0, shape=(3, 5)):
    generator = torch.Generator().manual_seed(seed)
    logits = [torch.randn(*shape, 7, generator=generator) for _ in range(2)]
    hidden = [torch.randn(*shape, 4, generator=generator) for _ in range(2)]
    return logits, hidden, torch.rand(shape, generator=generator) < 0.5


@pytest.mark.parametrize(
    ("temperature", "student_temperature", "expected"),
    [(0.5, 1.0, 0.814327), (1.0, 1.0, 0.559671), (0.5, 0.5, 1.848081), (2.0, 2.0, 0.138560)],
)
def test_soft_label_loss_mean_is_the_hand_value(temperature, student_temperature, expected):
    rows = soft_label_loss(STUDENT, TEACHER, temperature=temperature, student_temperature=student_temperature)
    assert rows.mean().item() == pytest.approx(expected, abs=1e-6)


def test_soft_label_loss_default_temperatures_are_those_of_the_paper():
    assert soft_label_loss(STUDENT, TEACHER).tolist() == pytest.approx([0.856934, 0.771720], abs=1e-6)


def test_soft_label_loss_of_equal_distributions_is_zero():
    assert soft_label_loss(TEACHER / 0.5, TEACHER).abs().max() < 1e-6


@pytest.mark.parametrize(("squared", "expected"), [(False, [5, 2, 0]), (True, [25, 4, 0])])
def test_hidden_distance_is_the_hand_value(squared, expected):
    assert hidden_distance(STUDENT_HIDDEN, TEACHER_HIDDEN, squared=squared).tolist() == expected


@pytest.mark.parametrize(("squared", "expected"), [(False, 2.333333), (True, 9.666667)])
def test_dims_loss_hidden_part_is_the_mean_before_its_weight(squared, expected):
    logits = torch.zeros(3, 4)
    loss = dims_loss(
        logits, logits, STUDENT_HIDDEN, TEACHER_HIDDEN, torch.ones(1, 3).bool(), hidden_weight=0.4,
        hidden_squared=squared,
    )  # fmt: skip
    assert loss.parts["hidden"].item() == pytest.approx(expected, abs=1e-6)
    assert loss.parts["kl"].item() == pytest.approx(0, abs=1e-6)
    assert loss.total.item() == pytest.approx(0.4 * expected, abs=1e-6)


def test_dims_loss_total_is_kl_plus_weighted_hidden_with_the_papers_weight():
    hidden = [STUDENT_HIDDEN[:2], TEACHER_HIDDEN[:2]]
    loss = dims_loss(STUDENT, TEACHER, *hidden, torch.ones(2, 1).bool())
    assert loss.parts["kl"].item() == pytest.approx(0.814327, abs=1e-6)
    assert loss.parts["hidden"].item() == pytest.approx(3.5)
    assert loss.total.item() == pytest.approx(0.814327 + 0.7 * 3.5, abs=1e-6)


def test_dims_loss_packed_equals_full():
    logits, hidden, is_masked = random_batch()
    full = dims_loss(*logits, *hidden, is_masked)
    packed = dims_loss(*(states[is_masked] for states in (*logits, *hidden)), is_masked)
    mixed = dims_loss(logits[0], logits[1][is_masked], hidden[0][is_masked], hidden[1], is_masked)
    for other in (packed, mixed):
        assert torch.equal(other.total, full.total)
        assert all(torch.equal(other.parts[name], full.parts[name]) for name in ("kl", "hidden"))


def test_dims_loss_ignores_unmasked_positions():
    logits, hidden, is_masked = random_batch()
    expected = dims_loss(*logits, *hidden, is_masked).total
    changed = [states.masked_fill(~is_masked.unsqueeze(-1), 9.0) for states in (*logits, *hidden)]
    assert torch.equal(dims_loss(*changed, is_masked).total, expected)


def test_dims_loss_packed_rows_of_another_mask_are_refused():
    logits, hidden, is_masked = random_batch()
    with pytest.raises(ValueError, match="Pack with the same mask"):
        dims_loss(logits[0][is_masked][:-1], logits[1], *hidden, is_masked)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_dims_loss_divides_by_num_items(as_tensor):
    logits, hidden, is_masked = random_batch()
    count = int(is_masked.sum())
    num_items = torch.tensor(4 * count) if as_tensor else 4 * count
    mean = dims_loss(*logits, *hidden, is_masked).total.item()
    assert dims_loss(*logits, *hidden, is_masked, num_items=num_items).total.item() == pytest.approx(mean / 4)


def test_dims_loss_micro_batches_with_common_num_items_add_up():
    logits, hidden, is_masked = random_batch(shape=(4, 6))
    whole = dims_loss(*logits, *hidden, is_masked).total.item()
    parts = [
        dims_loss(*(states[rows] for states in (*logits, *hidden, is_masked)), num_items=int(is_masked.sum())).total
        for rows in (slice(0, 1), slice(1, 4))
    ]
    assert sum(parts).item() == pytest.approx(whole, abs=1e-6)


def test_dims_loss_of_equal_hidden_states_has_zero_gradient_not_nan():
    logits, hidden, is_masked = random_batch()
    student_hidden = hidden[1].clone().requires_grad_()
    dims_loss(*logits, student_hidden, hidden[1], is_masked).total.backward()
    assert torch.equal(student_hidden.grad, torch.zeros_like(student_hidden))


def test_dims_loss_gives_the_student_a_gradient_and_the_teacher_none():
    logits, hidden, is_masked = random_batch()
    student, teacher = (states.clone().requires_grad_() for states in logits)
    student_hidden, teacher_hidden = (states.clone().requires_grad_() for states in hidden)
    dims_loss(student, teacher, student_hidden, teacher_hidden, is_masked).total.backward()
    assert teacher.grad is None and teacher_hidden.grad is None
    assert student.grad[is_masked].abs().sum() > 0 and student_hidden.grad[is_masked].abs().sum() > 0
    assert student.grad[~is_masked].abs().sum() == 0 and student_hidden.grad[~is_masked].abs().sum() == 0


@pytest.mark.parametrize("num_items", [None, 0, 5])
def test_dims_loss_without_masked_tokens_is_zero_with_a_gradient(num_items):
    logits, hidden, is_masked = random_batch()
    student = logits[0].clone().requires_grad_()
    loss = dims_loss(student, logits[1], *hidden, torch.zeros_like(is_masked), num_items=num_items)
    assert loss.total.item() == 0 and loss.parts["kl"].item() == 0 and loss.parts["hidden"].item() == 0
    loss.total.backward()
    assert torch.equal(student.grad, torch.zeros_like(student))


def test_dims_loss_of_bf16_inputs_is_computed_in_fp32():
    logits, hidden, is_masked = random_batch()
    halves = [states.mul(6).bfloat16() for states in (*logits, *hidden)]
    loss = dims_loss(*halves, is_masked)
    assert loss.total.dtype == torch.float32
    assert torch.equal(loss.total, dims_loss(*(states.float() for states in halves), is_masked).total)


def test_dims_loss_of_a_legacy_mask_logit_is_finite():
    logits, hidden, is_masked = random_batch()
    for states in logits:
        states[..., 3] = -1000.0
    assert torch.isfinite(dims_loss(*logits, *hidden, is_masked).total)
