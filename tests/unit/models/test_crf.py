# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Conditional random fields: numbers by hand, every sequence enumerated on small cases."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from dims_hf.models.crf import crf_nll, crf_viterbi


# Four words, three positions; exp of the scores.
EMISSIONS = torch.tensor([[1, 2, 1, 1], [1, 1, 3, 4], [2, 1, 1, 1]], dtype=torch.float64)
TRANSITIONS = torch.tensor([[2, 1, 1, 2], [1, 2, 1, 0.5], [2, 2, 1, 1], [1, 1, 1, 1]], dtype=torch.float64)


def table_chain(candidates: list[list[int]] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Emissions and transitions of the table, of some of its words at each position."""
    words = torch.tensor(candidates or [[0, 1, 2, 3]] * 3)
    emissions = EMISSIONS.gather(1, words)
    transitions = TRANSITIONS[words[:-1].unsqueeze(2), words[1:].unsqueeze(1)]
    return emissions.log().unsqueeze(0), transitions.log().unsqueeze(0)


def table_nll(target: list[int], candidates: list[list[int]] | None = None) -> float:
    return crf_nll(*table_chain(candidates), torch.tensor([target]), torch.tensor([len(target)])).item()


def random_chains(seed: int, closed: float) -> tuple[torch.Tensor, torch.Tensor, torch.LongTensor, torch.LongTensor]:
    """Four ragged chains of up to four positions and three candidates; padding is not finite."""
    generator = torch.Generator().manual_seed(seed)
    emissions = torch.randn(4, 4, 3, generator=generator, dtype=torch.float64) * 3
    transitions = torch.randn(4, 3, 3, 3, generator=generator, dtype=torch.float64) * 3
    emissions[torch.rand(emissions.shape, generator=generator) < closed] = -math.inf
    transitions[torch.rand(transitions.shape, generator=generator) < closed] = -math.inf
    target = torch.randint(0, 3, (4, 4), generator=generator)
    lengths = torch.randint(0, 5, (4,), generator=generator)
    for row, length in enumerate(lengths.tolist()):
        emissions[row, length:], target[row, length:] = math.nan, -100
        transitions[row, max(length - 1, 0) :] = math.inf
    return emissions, transitions, target, lengths


def enumerate_scores(emissions: torch.Tensor, transitions: torch.Tensor, length: int) -> dict[tuple[int, ...], float]:
    """Sequence -> score."""
    nodes, edges = emissions.tolist(), transitions.tolist()
    return {
        sequence: sum(nodes[place][here] for place, here in enumerate(sequence))
        + sum(edges[place][here][there] for place, (here, there) in enumerate(itertools.pairwise(sequence)))
        for sequence in itertools.product(range(emissions.shape[1]), repeat=length)
    }


def test_nll_and_viterbi_of_the_table():
    assert table_nll([1, 2, 0]) == pytest.approx(2.5902671655, abs=1e-10)
    assert table_nll([1, 2, 0]) == pytest.approx(-math.log(24 / 320), abs=1e-12)
    assert crf_viterbi(*table_chain(), torch.tensor([3])).tolist() == [[1, 2, 0]]
    assert table_chain()[0].argmax(-1).tolist() == [[1, 3, 0]]  # without transitions another one


def test_gradients_of_the_table_are_marginals_less_the_target():
    emissions, transitions = table_chain()
    emissions.requires_grad_()
    crf_nll(emissions, transitions, torch.tensor([[1, 2, 0]]), torch.tensor([3])).backward()
    marginals = torch.tensor([7 / 40, 11 / 80, 3 / 8 - 1, 5 / 16], dtype=torch.float64)
    torch.testing.assert_close(emissions.grad[0, 1], marginals)


@pytest.mark.parametrize(
    ("candidates", "target", "partition", "weight"),
    [
        ([[1, 0], [3, 2], [0, 1]], [0, 1, 0], 90, 24),  # the two best by emission; the target is 1 2 0
        ([[3, 1], [3, 2], [3, 0]], [0, 0, 0], 69, 4),  # 3 3 3 is forced in
    ],
)
def test_lists_of_candidates_of_the_table(candidates, target, partition: float, weight: float):
    assert table_nll(target, candidates) == pytest.approx(math.log(partition / weight), abs=1e-12)


def test_padded_position_of_the_table_is_not_counted():
    emissions, transitions = table_chain()
    nll = crf_nll(emissions, transitions, torch.tensor([[1, 2, -100]]), torch.tensor([2]))
    assert nll.item() == pytest.approx(math.log(50 / 6), abs=1e-12)


@pytest.mark.parametrize("closed", [0.0, 0.25])
def test_nll_viterbi_and_gradients_agree_with_enumeration(closed: float):
    for seed in range(25):
        emissions, transitions, target, lengths = random_chains(seed, closed)
        emissions.requires_grad_(), transitions.requires_grad_()
        value = crf_nll(emissions, transitions, target, lengths)
        nodes, edges = torch.autograd.grad(value.sum(), (emissions, transitions))
        best = crf_viterbi(emissions, transitions, lengths)
        for row, length in enumerate(lengths.tolist()):
            scores = enumerate_scores(emissions[row], transitions[row], length)
            partition = torch.tensor(list(scores.values()), dtype=torch.float64).logsumexp(0).item()
            wanted = tuple(target[row, :length].tolist())
            expected_nodes, expected_edges = torch.zeros_like(nodes[row]), torch.zeros_like(edges[row])
            if scores[wanted] == -math.inf:
                assert value[row].item() == math.inf
            else:
                assert value[row].item() == pytest.approx(partition - scores[wanted], abs=1e-11)
                for sequence, score in scores.items():
                    share = math.exp(score - partition) - (sequence == wanted)
                    expected_nodes[range(length), list(sequence)] += share
                    expected_edges[range(max(length - 1, 0)), list(sequence[:-1]), list(sequence[1:])] += share
            torch.testing.assert_close(nodes[row], expected_nodes, rtol=0, atol=1e-12)
            torch.testing.assert_close(edges[row], expected_edges, rtol=0, atol=1e-12)
            assert (nodes[row, length:] == 0).all() and (edges[row, max(length - 1, 0) :] == 0).all()
            if partition > -math.inf:
                assert scores[tuple(best[row, :length].tolist())] == max(scores.values())
            assert (best[row, length:] == 0).all()


def test_gradients_pass_the_numeric_check():
    generator = torch.Generator().manual_seed(0)
    emissions = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64).requires_grad_()
    transitions = torch.randn(2, 3, 3, 3, generator=generator, dtype=torch.float64).requires_grad_()
    target, lengths = torch.randint(0, 3, (2, 4), generator=generator), torch.tensor([4, 2])
    assert torch.autograd.gradcheck(
        lambda nodes, edges: crf_nll(nodes, edges, target, lengths), (emissions, transitions)
    )


def test_constants_of_a_position_change_nothing():
    emissions, transitions, target, lengths = random_chains(0, 0.0)
    shifted = emissions + torch.tensor([300.0, -20.0, 7.0, 0.0]).view(1, 4, 1), transitions - 50
    torch.testing.assert_close(crf_nll(*shifted, target, lengths), crf_nll(emissions, transitions, target, lengths))


def test_impossible_targets_have_no_gradient_even_of_an_infinite_loss():
    emissions, transitions = table_chain()
    emissions = emissions.expand(3, -1, -1).clone()
    emissions[0, 1, 2] = -math.inf  # the target's word
    emissions[1, 1] = -math.inf  # every word
    emissions.requires_grad_()
    value = crf_nll(emissions, transitions.expand(3, -1, -1, -1), torch.tensor([[1, 2, 0]] * 3), torch.tensor([3] * 3))
    assert value[:2].tolist() == [math.inf] * 2
    (value**2).sum().backward()
    assert (emissions.grad[:2] == 0).all() and emissions.grad.isfinite().all() and (emissions.grad[2] != 0).any()


@pytest.mark.parametrize(("dtype", "expected"), [(torch.bfloat16, torch.float32), (torch.float32, torch.float32)])
def test_low_precision_is_added_in_single_precision(dtype: torch.dtype, expected: torch.dtype):
    chain = [scores.to(dtype) for scores in table_chain()]
    value = crf_nll(*chain, torch.tensor([[1, 2, 0]]), torch.tensor([3]))
    assert value.dtype == expected and value.item() == pytest.approx(2.5902671655, rel=1e-2)


@pytest.mark.parametrize("width", [0, 1])
def test_shortest_chains(width: int):
    chain = torch.zeros(2, width, 3), torch.zeros(2, 0, 3, 3)
    lengths = torch.tensor([0, width])
    value = crf_nll(*chain, torch.zeros(2, width).long(), lengths)
    torch.testing.assert_close(value, torch.tensor([0.0, math.log(3) * width]))
    assert crf_viterbi(*chain, lengths).shape == (2, width)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"emissions": torch.zeros(3, 2)}, r"emissions must be floating point of shape \(B, T, C\)"),
        ({"emissions": torch.zeros(1, 3, 0)}, "emissions hold no candidates"),
        ({"transitions": torch.zeros(1, 3, 2, 2)}, r"transitions must be of shape \(1, 2, 2, 2\)"),
        ({"transitions": torch.zeros(1, 2, 2)}, r"transitions must be floating point of shape \(B, T − 1, C, C\)"),
        ({"lengths": torch.tensor([4])}, r"lengths must be in 0 … 3"),
        ({"lengths": torch.tensor([1, 2])}, r"lengths must be of shape \(1,\)"),
        ({"target_candidates": torch.zeros(1, 2).long()}, r"target_candidates must be of shape \(1, 3\)"),
        ({"target_candidates": torch.tensor([[0, 2, 0]])}, r"target_candidates must be in 0 … 1: places"),
    ],
)
def test_bad_arguments_are_refused_by_name(change: dict, message: str):
    arguments = {
        "emissions": torch.zeros(1, 3, 2),
        "transitions": torch.zeros(1, 2, 2, 2),
        "target_candidates": torch.zeros(1, 3).long(),
        "lengths": torch.tensor([3]),
        **change,
    }
    with pytest.raises(ValueError, match=message):
        crf_nll(**arguments)
    if "target_candidates" not in change:
        del arguments["target_candidates"]
        with pytest.raises(ValueError, match=message):
            crf_viterbi(**arguments)
