# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The Imputer's losses: hand values, brute force over paths, sentences that do not fit, denominators, gradients."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from dims_hf import imputer_dims_loss, imputer_loss


# softmax of these rows; blank 0
LOGITS = torch.tensor([[1.0, 0, -1], [0, 2, 0], [0.5, 0.5, 0], [0, 0, 1], [2, 0, 1]])


def loss_of(target, force_emits=None, logits=LOGITS, num_items=1):
    return imputer_loss(
        logits[None],
        torch.tensor([target], dtype=torch.long).view(1, -1),
        torch.tensor([len(logits)]),
        torch.tensor([len(target)]),
        blank_token_id=0,
        force_emits=None if force_emits is None else torch.tensor([force_emits]),
        num_items=num_items,
    )


@pytest.mark.parametrize(
    ("target", "force_emits", "expected"),
    [
        ([1, 2], None, 0.743599),
        ([1, 1], None, 2.816995),
        ([2], None, 3.124687),
        ([1, 2], [-1, 1, -1, -1, -1], 0.817172),
        ([1, 2], [0, 1, -1, 3, -1], 1.292940),
        ([1, 2], [-1, 1, 1, -1, 4], 2.250960),
        ([1, 2], [0, 1, 2, 3, 4], 2.564222),
    ],
)
def test_imputer_loss_is_the_hand_value(target, force_emits, expected):
    assert loss_of(target, force_emits).total.item() == pytest.approx(expected, abs=1e-6)


def enumerate_paths(logits, target, force_emits):
    """−log of the summed probability of all state sequences that emit `target` and agree with `force_emits`."""
    log_probs, total = logits.log_softmax(dim=-1).tolist(), 0.0
    labels = [0] + [token for pair in target for token in (pair, 0)]
    for path in itertools.product(range(len(labels)), repeat=len(logits)):
        steps = list(zip(path, path[1:], strict=False))
        skips = all(b - a != 2 or (b % 2 == 1 and labels[a] != labels[b]) for a, b in steps)
        agrees = all(forced in (-1, state) for forced, state in zip(force_emits, path, strict=True))
        ends = path[0] <= 1 and path[-1] >= len(labels) - 2
        if ends and agrees and skips and all(0 <= b - a <= 2 for a, b in steps):
            total += math.exp(sum(row[labels[state]] for row, state in zip(log_probs, path, strict=True)))
    return -math.log(total) if total else math.inf


@pytest.mark.parametrize("target", [[], [1], [1, 1], [1, 2, 1], [2, 2, 1], [1, 1, 1]])
def test_imputer_loss_equals_the_sum_over_all_paths(target):
    generator = torch.Generator().manual_seed(len(target))
    for trial in range(6):
        logits = torch.randn(5, 3, generator=generator)
        states = torch.randint(0, 2 * len(target) + 1, (5,), generator=generator)
        is_free = torch.rand(5, generator=generator) < (1.0 if trial < 2 else 0.7)
        force_emits = states.sort().values.masked_fill(is_free, -1).tolist()
        expected, loss = enumerate_paths(logits, target, force_emits), loss_of(target, force_emits, logits)
        assert loss.parts["skipped"].item() == (expected == math.inf)
        assert loss.total.item() == pytest.approx(0.0 if expected == math.inf else expected, abs=1e-5)


def random_batch(seed=0):
    """Six sentences of 1 to 9 tokens in 8 frames, repeated tokens among them; some do not fit."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, 8, 5, generator=generator)
    targets = torch.randint(1, 4, (6, 9), generator=generator)
    return logits, targets, torch.tensor([8, 5, 8, 3, 8, 6]), torch.tensor([3, 5, 9, 1, 4, 2])


def test_imputer_loss_counts_and_skips_targets_that_do_not_fit():
    logits, targets, frame_lengths, target_lengths = random_batch()
    targets[0, :3] = 2  # needs five frames and has eight
    targets[1, :5] = torch.tensor([1, 2, 3, 1, 2])  # as many tokens as frames
    targets[4, :4], targets[5, :2] = torch.tensor([1, 2, 1, 3]), torch.tensor([3, 1])
    options = {"blank_token_id": 0, "num_items": 1}
    logits.requires_grad_()
    loss = imputer_loss(logits, targets, frame_lengths, target_lengths, **options)
    assert loss.parts["skipped"].item() == 1
    rows = [0, 1, 3, 4, 5]
    kept = imputer_loss(logits[rows], targets[rows], frame_lengths[rows], target_lengths[rows], **options)
    assert loss.total.item() == pytest.approx(kept.total.item(), rel=1e-6)
    loss.total.backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[2] == 0).all() and (logits.grad[1] != 0).any()
    assert (logits.grad[3, 3:] == 0).all()  # padding
    mean = imputer_loss(logits, targets, frame_lengths, target_lengths, blank_token_id=0)
    assert mean.total.item() == pytest.approx(loss.total.item() / (8 + 5 + 3 + 8 + 6), rel=1e-6)


def test_imputer_loss_of_nothing_that_fits_is_zero_with_a_gradient():
    logits = torch.randn(2, 2, 5, requires_grad=True)
    loss = imputer_loss(
        logits, torch.tensor([[1, 1], [2, 2]]), torch.tensor([2, 2]), torch.tensor([2, 2]), blank_token_id=0
    )
    loss.total.backward()
    assert loss.total.item() == 0 and loss.parts["skipped"].item() == 2
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_imputer_loss_default_denominator_is_the_number_of_free_frames():
    assert loss_of([1, 2], [0, 1, -1, 3, -1], num_items=None).total.item() == pytest.approx(1.292940 / 2, abs=1e-6)
    assert loss_of([1, 2], num_items=None).total.item() == pytest.approx(0.743599 / 5, abs=1e-6)
    assert loss_of([1, 2], [0, 1, 2, 3, 4], num_items=None).total.item() == pytest.approx(2.564222, abs=1e-6)


def test_imputer_loss_of_bf16_logits_is_computed_in_fp32():
    half = LOGITS.mul(3).bfloat16()
    assert torch.equal(loss_of([1, 2], logits=half).total, loss_of([1, 2], logits=half.float()).total)


# ---- students ----


def test_imputer_dims_loss_is_ctc_of_the_labels_plus_the_weighted_distance():
    logits, targets, frame_lengths, _ = random_batch()
    lengths, generator = torch.tensor([2, 3, 4, 0, 1, 2]), torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(6, 8, 4, generator=generator) for _ in range(2))
    is_masked = torch.rand(6, 8, generator=generator) < 0.5
    loss = imputer_dims_loss(
        logits, targets, frame_lengths, lengths, student, teacher[is_masked], is_masked, blank_token_id=0,
        hidden_weight=0.7, num_items=(10, 4),
    )  # fmt: skip
    ctc = imputer_loss(logits, targets, frame_lengths, lengths, blank_token_id=0, num_items=10).total
    distance = (student - teacher)[is_masked].norm(dim=-1).sum() / 4
    assert loss.parts["ctc"].item() == pytest.approx(ctc.item())
    assert loss.parts["hidden"].item() == pytest.approx(distance.item(), rel=1e-6)
    assert loss.total.item() == pytest.approx((ctc + 0.7 * distance).item(), rel=1e-6)
    plain = imputer_dims_loss(
        logits, targets, frame_lengths, lengths, student, teacher, is_masked, blank_token_id=0, num_items=(10, 4)
    )
    assert plain.total.item() == pytest.approx(ctc.item())
