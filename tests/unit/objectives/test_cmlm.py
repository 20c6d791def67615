# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Masked-token cross-entropy: hand values, packing, denominators."""

from __future__ import annotations

import pytest
import torch

from dims_hf.objectives import cmlm_loss, masked_accuracy


LOGITS = torch.tensor([[1.0, 2.0, 0.0, -1.0], [0.0, 0.0, 3.0, 1.0]])
TARGETS = torch.tensor([1, 3])


@pytest.mark.parametrize(("label_smoothing", "expected"), [(0.0, 1.3255936), (0.1, 1.4005935)])
def test_cmlm_loss_of_two_tokens_is_the_hand_value(label_smoothing, expected):
    loss = cmlm_loss(LOGITS, TARGETS, label_smoothing=label_smoothing)
    assert loss.total.item() == pytest.approx(expected, abs=1e-6)
    assert loss.parts["token"].item() == pytest.approx(expected, abs=1e-6)
    assert loss.parts["accuracy"].item() == 0.5
    assert not loss.parts["token"].requires_grad


def test_cmlm_loss_default_smoothing_is_that_of_the_papers():
    assert cmlm_loss(LOGITS, TARGETS).total.item() == pytest.approx(1.4005935, abs=1e-6)


def test_cmlm_loss_packed_equals_full():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 7, generator=generator)
    labels = torch.randint(7, (3, 5), generator=generator)
    is_labelled = torch.rand(3, 5, generator=generator) < 0.4
    labels = labels.masked_fill(~is_labelled, -100)
    full = cmlm_loss(logits, labels)
    for packed_labels in (labels, labels[is_labelled]):
        packed = cmlm_loss(logits[is_labelled], packed_labels)
        assert torch.equal(packed.total, full.total)
        assert torch.equal(packed.parts["accuracy"], full.parts["accuracy"])


def test_cmlm_loss_of_packed_rows_with_unlabelled_ones_counts_the_others():
    # A reference token that is the mask id itself: packed, but without a label.
    logits = torch.cat([LOGITS, torch.randn(1, 4)])
    assert cmlm_loss(logits, torch.tensor([1, 3, -100])).total.item() == pytest.approx(1.4005935, abs=1e-6)


def test_cmlm_loss_packed_rows_of_another_mask_are_refused():
    with pytest.raises(ValueError, match="2 rows for 3 selected positions. Pack with the same mask"):
        cmlm_loss(LOGITS, torch.tensor([[1, 3, -100, 0]]))


@pytest.mark.parametrize("num_items", [8, torch.tensor(8)])
def test_cmlm_loss_divides_by_num_items(num_items):
    loss = cmlm_loss(LOGITS, TARGETS, label_smoothing=0.0, num_items=num_items)
    assert loss.total.item() == pytest.approx(2 * 1.3255936 / 8, abs=1e-6)
    assert loss.parts["accuracy"].item() == 1 / 8


def test_cmlm_loss_micro_batches_with_common_num_items_add_up():
    logits, labels = torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    whole = cmlm_loss(logits, labels).total
    parts = [cmlm_loss(logits[rows], labels[rows], num_items=6).total for rows in (slice(0, 1), slice(1, 6))]
    assert sum(parts).item() == pytest.approx(whole.item(), abs=1e-6)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_cmlm_loss_without_labels_is_zero_with_zero_gradient(label_smoothing):
    logits = LOGITS.clone().requires_grad_()
    loss = cmlm_loss(logits, torch.full((2,), -100), label_smoothing=label_smoothing)
    assert loss.total.item() == 0 and loss.parts["accuracy"].item() == 0
    loss.total.backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_cmlm_loss_of_bf16_logits_is_computed_in_fp32():
    logits = torch.randn(4, 50).mul(5).bfloat16()
    labels = torch.tensor([3, 7, 40, 1])
    loss = cmlm_loss(logits, labels).total
    assert loss.dtype == torch.float32
    assert torch.equal(loss, cmlm_loss(logits.float(), labels).total)


def test_masked_accuracy_has_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    accuracy = masked_accuracy(logits, TARGETS, 2)
    assert accuracy.item() == 0.5 and not accuracy.requires_grad
