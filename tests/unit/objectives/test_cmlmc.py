# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Correction loss of CMLMC and prediction of masked source tokens: hand values, denominators, empty sets."""

from __future__ import annotations

import math

import pytest
import torch

from dims_hf.objectives import cmlm_loss, cmlmc_loss, encoder_prediction_loss


def logits_of(*nll: float) -> torch.Tensor:
    """Rows over two tokens whose negative log-likelihood of token 1 is given."""
    return torch.tensor([[math.log(1 - math.exp(-value)), -value] for value in nll])


IS_MASKED = torch.tensor([[False, True, True, False, False], [False, False, True, False, False]])
IS_REPLACED = torch.tensor([[False, False, False, True, False], [False, False, False, False, False]])
LABELS = torch.full((2, 5), -100).masked_fill(IS_MASKED | IS_REPLACED, 1)
MASKED, CORRECTED = logits_of(1, 1, 1), logits_of(2)


@pytest.mark.parametrize(("reduction", "expected"), [("joint", 1.25), ("average", 1.5)])
def test_cmlmc_loss_of_known_likelihoods_is_the_hand_value(reduction, expected):
    loss = cmlmc_loss(MASKED, CORRECTED, LABELS, IS_MASKED, IS_REPLACED, label_smoothing=0, reduction=reduction)
    assert loss.total.item() == pytest.approx(expected, abs=1e-6)
    parts = {name: part.item() for name, part in loss.parts.items()}
    assert parts == pytest.approx({"token": expected, "masked": 1.0, "corrected": 2.0, "accuracy": 0.0}, abs=1e-6)
    assert not loss.parts["token"].requires_grad


def test_cmlmc_loss_default_is_the_joint_mean_with_smoothing():
    loss = cmlmc_loss(MASKED, CORRECTED, LABELS, IS_MASKED, IS_REPLACED)
    expected = cmlm_loss(torch.cat([MASKED, CORRECTED]), torch.ones(4, dtype=torch.long), label_smoothing=0.1)
    assert loss.total.item() == pytest.approx(expected.total.item(), abs=1e-6)


@pytest.mark.parametrize("reduction", ["joint", "average"])
def test_cmlmc_loss_packed_equals_full(reduction):
    generator = torch.Generator().manual_seed(0)
    masked, corrected = (torch.randn(2, 5, 7, generator=generator) for _ in range(2))
    full = cmlmc_loss(masked, corrected, LABELS, IS_MASKED, IS_REPLACED, reduction=reduction)
    packed = cmlmc_loss(masked[IS_MASKED], corrected[IS_REPLACED], LABELS, IS_MASKED, IS_REPLACED, reduction=reduction)
    assert torch.equal(full.total, packed.total)
    with pytest.raises(ValueError, match="1 rows for 3 selected positions"):
        cmlmc_loss(CORRECTED, CORRECTED, LABELS, IS_MASKED, IS_REPLACED)


def test_cmlmc_loss_unlabelled_rows_do_not_count():
    labels = LABELS.clone()
    labels[0, 1] = -100  # a reference token that is the mask id itself
    loss = cmlmc_loss(logits_of(9, 1, 1), CORRECTED, labels, IS_MASKED, IS_REPLACED, label_smoothing=0)
    assert loss.total.item() == pytest.approx(4 / 3, abs=1e-6)


@pytest.mark.parametrize("reduction", ["joint", "average"])
@pytest.mark.parametrize("as_type", [int, torch.tensor])
def test_cmlmc_loss_micro_batches_with_common_items_add_up(reduction, as_type):
    items = (as_type(3), as_type(1))
    settings = {"label_smoothing": 0, "reduction": reduction, "num_items": items}
    whole = cmlmc_loss(MASKED, CORRECTED, LABELS, IS_MASKED, IS_REPLACED, **settings)
    first = cmlmc_loss(MASKED[:2], CORRECTED, LABELS[:1], IS_MASKED[:1], IS_REPLACED[:1], **settings)
    second = cmlmc_loss(MASKED[2:], CORRECTED[:0], LABELS[1:], IS_MASKED[1:], IS_REPLACED[1:], **settings)
    assert whole.total.item() == pytest.approx(1.25 if reduction == "joint" else 1.5, abs=1e-6)
    assert (first.total + second.total).item() == pytest.approx(whole.total.item(), abs=1e-6)
    assert (first.parts["masked"] + second.parts["masked"]).item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("reduction", ["joint", "average"])
def test_cmlmc_loss_with_one_set_empty_is_the_mean_of_the_other(reduction):
    nothing = torch.zeros_like(IS_MASKED)
    settings = {"label_smoothing": 0, "reduction": reduction}
    masked_only = cmlmc_loss(MASKED, CORRECTED[:0], LABELS, IS_MASKED, nothing, **settings)
    replaced_only = cmlmc_loss(MASKED[:0], CORRECTED, LABELS, nothing, IS_REPLACED, **settings)
    assert masked_only.total.item() == pytest.approx(1.0, abs=1e-6)
    assert replaced_only.total.item() == pytest.approx(2.0, abs=1e-6)


@pytest.mark.parametrize("reduction", ["joint", "average"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_cmlmc_loss_of_nothing_is_zero_with_zero_gradient(reduction, label_smoothing):
    masked, corrected = (torch.randn(2, 5, 3, requires_grad=True) for _ in range(2))
    nothing = torch.zeros_like(IS_MASKED)
    loss = cmlmc_loss(
        masked, corrected, LABELS, nothing, nothing, reduction=reduction, label_smoothing=label_smoothing
    )
    assert loss.total.item() == 0 and {part.item() for part in loss.parts.values()} == {0.0}
    loss.total.backward()
    for logits in (masked, corrected):
        assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_cmlmc_loss_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="reduction must be one of joint, average, got 'sum'"):
        cmlmc_loss(MASKED, CORRECTED, LABELS, IS_MASKED, IS_REPLACED, reduction="sum")


def test_encoder_prediction_loss_is_the_smoothed_mean_over_masked_source_tokens():
    logits = torch.tensor([[1.0, 2.0, 0.0, -1.0], [5.0, 0.0, 0.0, 0.0], [0.0, 0.0, 3.0, 1.0]])
    labels = torch.tensor([1, -100, 3])
    for epsilon, expected in ((0.0, 1.3255936), (0.1, 1.4005935)):
        full = encoder_prediction_loss(logits[None], labels[None], label_smoothing=epsilon)
        packed = encoder_prediction_loss(logits[[0, 2]], labels[[0, 2]], label_smoothing=epsilon, num_items=4)
        assert full.total.item() == full.parts["encoder"].item() == pytest.approx(expected, abs=1e-6)
        assert packed.total.item() == pytest.approx(expected / 2, abs=1e-6)


def test_encoder_prediction_loss_of_nothing_is_zero_with_zero_gradient():
    logits = torch.randn(2, 3, 4, requires_grad=True)
    loss = encoder_prediction_loss(logits, torch.full((2, 3), -100))
    assert loss.total.item() == 0
    loss.total.backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))
