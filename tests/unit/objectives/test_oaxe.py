# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""OAXE: hand values, brute force over orders, truncation, smoothing, padding, refusals."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from dims_hf.objectives import ProjectedVocabulary, VocabularyProjection, oaxe_loss
from dims_hf.objectives.assignment import assign


B = torch.tensor([[0.6, 0.3, 0.05, 0.05], [0.7, 0.05, 0.05, 0.2], [0.1, 0.2, 0.4, 0.3]])
C = torch.tensor([[0.5, 0.3, 0.1, 0.1], [0.86, 0.05, 0.05, 0.04], [0.3, 0.25, 0.35, 0.1], [0.5, 0.3, 0.1, 0.1]])
D = torch.tensor([[0.2, 0.7, 0.1], [0.1, 0.6, 0.3], [0.3, 0.1, 0.6]])


def loss_of(probs, target, num_items=1, **options):
    log_probs = probs if probs.requires_grad else probs.log()
    return oaxe_loss(
        log_probs[None], torch.tensor([target]), torch.tensor([len(target)]), num_items=num_items, **options
    )


@pytest.mark.parametrize(
    ("probs", "target", "options", "expected"),
    [
        (B, [0, 1, 2], {}, 2.476938),
        (B, [0, 1, 2], {"label_smoothing": 0.1}, 2.771648),
        (C, [0, 1, 2, 3], {}, 4.707203),
        (C, [0, 1, 2, 3], {"truncation": 0.15}, 2.404618),
        (D, [1, 1, 2], {}, 1.378326),
        (D[:1], [0], {}, 1.609438),
    ],
)
def test_oaxe_loss_is_the_hand_value(probs, target, options, expected):
    for order in itertools.permutations(target):
        assert loss_of(probs, list(order), **options).total.item() == pytest.approx(expected, abs=1e-5)


def test_oaxe_loss_of_permuted_logits_is_the_known_value():
    logits = torch.zeros(4, 4)
    logits[range(4), [0, 2, 1, 3]] = 2.0
    assert loss_of(logits.softmax(-1), [1, 2, 3, 0]).total.item() == pytest.approx(1.363012, abs=1e-5)


def test_oaxe_loss_divides_by_all_target_tokens_dropped_or_not():
    loss = loss_of(C, [0, 1, 2, 3], num_items=None, truncation=0.15)
    assert loss.total.item() == pytest.approx(2.404618 / 4, abs=1e-6) and loss.parts["kept"].item() == 0.75
    assert loss_of(B, [0, 1, 2], None, label_smoothing=0.1).total.item() == pytest.approx(0.923883, abs=1e-6)


@pytest.mark.parametrize("probability", [0.1, 0.15, 0.3, 0.5, 0.7])
def test_a_probability_at_the_threshold_is_not_below_it(probability):
    probs = torch.tensor([[probability, 1 - probability]])
    assert loss_of(probs, [0], truncation=probability).total.item() == pytest.approx(-math.log(probability), rel=1e-6)
    assert loss_of(probs, [0], truncation=probability + 1e-4).total.item() == 0


def test_dropped_tokens_have_no_gradient_but_smoothing_covers_them():
    log_probs = C.log().requires_grad_()
    loss_of(log_probs, [0, 1, 2, 3], truncation=0.15).total.backward()
    expected = torch.zeros(4, 4)
    expected[0, 1] = expected[1, 0] = expected[2, 2] = -1
    assert torch.equal(log_probs.grad, expected)
    log_probs = C.log().requires_grad_()
    loss_of(log_probs, [0, 1, 2, 3], truncation=0.15, label_smoothing=0.2).total.backward()
    torch.testing.assert_close(log_probs.grad, 0.8 * expected - 0.2 / 4)


def test_assignments_are_the_best_of_all_permutations():
    generator = torch.Generator().manual_seed(0)
    costs = torch.randn(30, 5, 5, generator=generator, dtype=torch.float64)
    costs[10:20] = costs[10:20].round()  # ties
    costs[20:][torch.rand(10, 5, 5, generator=generator) < 0.3] = torch.inf
    lengths = torch.randint(0, 6, (30,), generator=generator)
    columns = assign(costs, lengths)
    for matrix, length, row in zip(costs, lengths.tolist(), columns, strict=True):
        assert sorted(row[:length].tolist()) == list(range(length))
        orders = torch.tensor(list(itertools.permutations(range(length))), dtype=torch.long)
        best = matrix[torch.arange(length), orders].sum(1).min()
        found = matrix[torch.arange(length), row[:length]].sum()
        assert found == best or found.item() == pytest.approx(best.item(), abs=1e-9)


def test_assignments_of_long_sentences_are_those_of_scipy():
    scipy = pytest.importorskip("scipy.optimize")
    costs = torch.rand(6, 40, 40, generator=torch.Generator().manual_seed(0)) * 20
    lengths = torch.tensor([40, 1, 17, 33, 40, 0])
    for matrix, length, row in zip(costs, lengths.tolist(), assign(costs, lengths), strict=True):
        block = matrix[:length, :length].double().numpy()
        rows, columns = scipy.linear_sum_assignment(block)
        assert block[range(length), row[:length]].sum() == pytest.approx(block[rows, columns].sum(), abs=1e-9)


def make_batch():
    generator = torch.Generator().manual_seed(1)
    log_probs = torch.randn(4, 5, 7, generator=generator).log_softmax(-1)
    return log_probs, torch.randint(7, (4, 5), generator=generator), torch.tensor([5, 3, 0, 1])


@pytest.mark.parametrize("filling", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_oaxe_loss_ignores_padding_whatever_it_holds(filling, label_smoothing):
    log_probs, targets, lengths = make_batch()
    options = {"label_smoothing": label_smoothing, "truncation": 0.05}
    alone = [
        oaxe_loss(log_probs[i : i + 1, :n], targets[i : i + 1, :n], lengths[i : i + 1], num_items=9, **options).total
        for i, n in enumerate(lengths)
    ]
    is_padding = torch.arange(5) >= lengths[:, None]
    padded = log_probs.masked_fill(is_padding[..., None], filling).requires_grad_()
    loss = oaxe_loss(padded, targets.masked_fill(is_padding, -5), lengths, **options)
    assert loss.total.item() == pytest.approx(sum(alone).item(), rel=1e-6)
    loss.total.backward()
    assert (padded.grad[is_padding] == 0).all() and padded.grad[0].abs().sum() > 0


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}])
def test_oaxe_loss_of_nothing_is_zero_with_a_gradient(options):
    log_probs = torch.full((2, 3, 4), math.nan).requires_grad_()
    loss = oaxe_loss(log_probs, torch.full((2, 3), -100), torch.zeros(2, dtype=torch.long), **options)
    loss.total.backward()
    assert loss.total.item() == 0 and torch.equal(log_probs.grad, torch.zeros_like(log_probs))


def test_oaxe_loss_of_hidden_states_is_that_of_their_log_probabilities():
    _, targets, lengths = make_batch()
    states, table = torch.randn(4, 5, 6, requires_grad=True), torch.randn(7, 6, requires_grad=True)
    plain = oaxe_loss((states @ table.T).log_softmax(-1), targets, lengths, label_smoothing=0.1).total
    projected = ProjectedVocabulary(states, VocabularyProjection(table))
    ours = oaxe_loss(projected, targets, lengths, label_smoothing=0.1).total
    torch.testing.assert_close(ours, plain)
    for gradient, expected in zip(
        *(torch.autograd.grad(each, (states, table)) for each in (ours, plain)), strict=True
    ):
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-4)


def test_oaxe_loss_never_exceeds_the_cross_entropy_and_is_finite_in_half_precision():
    log_probs, targets, lengths = make_batch()
    is_token = torch.arange(5) < lengths[:, None]
    cross_entropy = -log_probs.gather(2, targets[..., None]).squeeze(2)[is_token].sum()
    assert oaxe_loss(log_probs, targets, lengths, num_items=1).total <= cross_entropy
    for dtype in (torch.float16, torch.bfloat16):
        loss = oaxe_loss(log_probs.to(dtype), targets, lengths).total
        assert loss.isfinite() and loss.dtype == torch.float32


def test_oaxe_loss_refuses_what_cannot_be_meant():
    log_probs, targets, lengths = make_batch()
    for name in ("truncation", "label_smoothing"):
        for share in (-0.1, 1.0, math.nan):
            with pytest.raises(ValueError, match=name):
                oaxe_loss(log_probs, targets, lengths, **{name: share})
    for arguments, message in (
        ((log_probs[:, :4], targets, lengths), "one position for each token"),
        ((log_probs, targets + 7, lengths), "targets must be in 0 … 6"),
        ((log_probs, targets, lengths + 1), "target_lengths must be in 0 … 5"),
        ((log_probs, targets[:2], lengths), "targets must be of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            oaxe_loss(*arguments)
