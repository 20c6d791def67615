# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""AXE: hand values, brute force over alignments, gradients along the path, padding, refusals."""

from __future__ import annotations

import functools
import math

import pytest
import torch

from dims_hf.objectives import ProjectedVocabulary, VocabularyProjection, axe_loss


# three positions over ε, a, b, c
PROBS = torch.tensor([[0.1, 0.6, 0.2, 0.1], [0.5, 0.1, 0.3, 0.1], [0.2, 0.1, 0.1, 0.6]])


def loss_of(target, skip_penalty=1.0, log_probs=None, num_items=1):
    log_probs = PROBS.log() if log_probs is None else log_probs
    return axe_loss(
        log_probs[None],
        torch.tensor([target], dtype=torch.long).view(1, -1),
        torch.tensor([len(log_probs)]),
        torch.tensor([len(target)]),
        empty_token_id=0,
        skip_penalty=skip_penalty,
        num_items=num_items,
    )


@pytest.mark.parametrize(
    ("target", "skip_penalty", "expected"),
    [
        ([1, 3], 3, 1.714798),
        ([1, 3], 1, 1.714798),
        ([1, 2, 3], 1, 2.225624),
        ([2, 1, 3], 1, 3.324236),
        ([2, 1, 3], 3, 4.345888),
        ([1, 2, 2, 3], 1, 3.429597),
        ([1, 2, 2, 3], 3, 4.856713),
        ([3], 1, 3.506558),
        ([], 1, 4.605170),
    ],
)
def test_axe_loss_is_the_hand_value(target, skip_penalty, expected):
    loss = loss_of(target, skip_penalty)
    assert loss.total.item() == pytest.approx(expected, abs=1e-5)
    assert loss.parts["axe"].item() == pytest.approx(expected, abs=1e-5) and not loss.parts["axe"].requires_grad


def test_axe_loss_divides_by_the_target_tokens():
    assert loss_of([1, 3], num_items=None).total.item() == pytest.approx(1.714798 / 2, abs=1e-6)
    assert loss_of([1, 3], num_items=torch.tensor(4)).total.item() == pytest.approx(1.714798 / 4, abs=1e-6)


def cheapest(costs, empty_costs, target, skip_penalty):
    """Minimum over all ways to let each position emit ε or a run of targets, of which one is paid once."""

    @functools.cache
    def best(position, start):
        if position == len(costs):
            return 0.0 if start == len(target) else math.inf
        results = [empty_costs[position] + best(position + 1, start)]
        for end in range(start + 1, len(target) + 1):
            run = [costs[position][token] for token in target[start:end]]
            # at the first position any one is the aligned one, elsewhere the first of the run
            aligned = max(run) if position == 0 else run[0]
            paid = aligned + skip_penalty * (sum(run) - aligned)
            results.append(paid + best(position + 1, end))
        return min(results)

    return best(0, 0)


@pytest.mark.parametrize("skip_penalty", [1.0, 1.7, 4.0])
def test_axe_loss_is_the_minimum_over_all_alignments(skip_penalty):
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        num_positions, num_targets = (int(torch.randint(1, 6, (), generator=generator)) for _ in range(2))
        log_probs = torch.randn(num_positions, 4, generator=generator, dtype=torch.float64).log_softmax(-1)
        target = torch.randint(1, 4, (num_targets,), generator=generator).tolist()
        costs = (-log_probs).tolist()
        expected = cheapest(costs, [row[0] for row in costs], target, skip_penalty)
        assert loss_of(target, skip_penalty, log_probs).total.item() == pytest.approx(expected, abs=1e-9)


def test_axe_loss_has_its_gradient_along_the_path_alone():
    log_probs = PROBS.log().requires_grad_()
    loss_of([1, 3], 3, log_probs).total.backward()
    expected = torch.zeros(3, 4)
    expected[0, 1] = expected[1, 0] = expected[2, 3] = -1
    assert torch.equal(log_probs.grad, expected)


def test_axe_loss_of_a_certain_model_is_finite_beside_impossible_tokens():
    log_probs = torch.eye(4)[[1, 0, 3]].log().requires_grad_()
    loss = loss_of([1, 3], 1, log_probs)
    loss.total.backward()
    assert loss.total.item() == 0 and log_probs.grad.isfinite().all()


def make_batch(dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    log_probs = torch.randn(4, 6, 7, generator=generator, dtype=dtype).log_softmax(-1)
    targets = torch.randint(1, 7, (4, 5), generator=generator)
    return log_probs, targets, torch.tensor([6, 3, 4, 0]), torch.tensor([3, 5, 0, 0])


@pytest.mark.parametrize("filling", [math.nan, math.inf, -math.inf])
def test_axe_loss_ignores_padding_whatever_it_holds(filling):
    log_probs, targets, positions, lengths = make_batch()
    options = {"empty_token_id": 0, "skip_penalty": 2.0}
    alone = [
        axe_loss(log_probs[i : i + 1, :p], targets[i : i + 1, :n], positions[i : i + 1], lengths[i : i + 1],
                 **options, num_items=8).total for i, (p, n) in enumerate(zip(positions, lengths, strict=True))
    ]  # fmt: skip
    is_padding = torch.arange(6) >= positions[:, None]
    padded = log_probs.masked_fill(is_padding[..., None], filling).requires_grad_()
    targets = targets.masked_fill(torch.arange(5) >= lengths[:, None], 10**6)
    loss = axe_loss(padded, targets, positions, lengths, **options)
    assert loss.total.item() == pytest.approx(sum(alone).item(), rel=1e-6)
    loss.total.backward()
    assert (padded.grad[is_padding] == 0).all() and padded.grad[0].abs().sum() > 0


@pytest.mark.parametrize("width", [0, 3])
def test_axe_loss_of_nothing_is_zero_with_a_gradient(width):
    log_probs = torch.randn(2, width, 4, requires_grad=True)
    nothing = torch.zeros(2, dtype=torch.long)
    loss = axe_loss(log_probs, torch.full((2, 2), -100), nothing, nothing, empty_token_id=0)
    loss.total.backward()
    assert loss.total.item() == 0 and torch.equal(log_probs.grad, torch.zeros_like(log_probs))


def test_axe_loss_of_hidden_states_is_that_of_their_log_probabilities():
    _, targets, positions, lengths = make_batch()
    states, table = torch.randn(4, 6, 5, requires_grad=True), torch.randn(7, 5, requires_grad=True)
    arguments = targets, positions, lengths
    plain = axe_loss((states @ table.T).log_softmax(-1), *arguments, empty_token_id=0).total
    ours = axe_loss(ProjectedVocabulary(states, VocabularyProjection(table)), *arguments, empty_token_id=0).total
    torch.testing.assert_close(ours, plain)
    for gradient, expected in zip(
        *(torch.autograd.grad(each, (states, table)) for each in (ours, plain)), strict=True
    ):
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_axe_loss_of_half_precision_is_finite_fp32(dtype):
    log_probs, *rest = make_batch()
    assert axe_loss(log_probs.to(dtype), *rest, empty_token_id=0).total.dtype == torch.float32
    assert axe_loss(log_probs.to(dtype), *rest, empty_token_id=0).total.isfinite()


def test_axe_loss_refuses_what_cannot_be_meant():
    log_probs, targets, positions, lengths = make_batch()
    options = {"empty_token_id": 0}
    for skip_penalty in (0.9, math.nan, math.inf):
        with pytest.raises(ValueError, match="skip_penalty"):
            axe_loss(log_probs, targets, positions, lengths, skip_penalty=skip_penalty, **options)
    for change, message in (
        ({"log_probs": log_probs[0]}, "log_probs must be of shape"),
        ({"targets": targets[0]}, "targets must be of shape"),
        ({"targets": targets[:2]}, "targets must be of shape"),
        ({"prediction_lengths": positions + 1}, "prediction_lengths must be in 0 … 6"),
        ({"target_lengths": lengths - 1}, "target_lengths must be in 0 … 5"),
        ({"target_lengths": lengths[:2]}, "target_lengths must be integers of shape"),
        ({"targets": targets + 6}, "targets must be in 0 … 6"),
        ({"targets": targets * 0}, "targets hold empty_token_id 0"),
        ({"empty_token_id": 7}, "empty_token_id 7 is not in the vocabulary"),
        ({"target_lengths": torch.tensor([3, 5, 0, 1])}, "targets but no prediction"),
    ):
        given = {"log_probs": log_probs, "targets": targets, "prediction_lengths": positions,
                 "target_lengths": lengths, **options, **change}  # fmt: skip
        with pytest.raises(ValueError, match=message):
            axe_loss(**given)
