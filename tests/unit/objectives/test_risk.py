# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""GLEU against counting by hand and by `collections.Counter`; the estimated gradient against enumeration."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch

from dims_hf.models.alignment import collapse_alignment
from dims_hf.objectives import DenseVocabulary, ProjectedVocabulary, VocabularyProjection, gleu, minimum_risk_loss


def count(tokens: list[int], n: int) -> Counter[tuple[int, ...]]:
    return Counter(tuple(tokens[i : i + size]) for size in range(1, n + 1) for i in range(len(tokens) - size + 1))


def gleu_of_one(hypothesis: list[int], reference: list[int], n: int) -> float:
    own, other = count(hypothesis, n), count(reference, n)
    return sum((own & other).values()) / max(sum(own.values()), sum(other.values()), 1)


def pad(rows: list[list[int]], width: int, value: int) -> torch.Tensor:
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


def test_gleu_of_a_case_worked_by_hand():
    # "the the cat" for "the cat sat": unigrams the, cat (2), bigram the cat (1) of 3 + 2 + 1 n-grams each
    value = gleu(torch.tensor([[[1, 1, 2]]]), torch.tensor([[3]]), torch.tensor([[[1, 2, 3]]]), torch.tensor([[3]]))
    assert value.tolist() == [[0.5]]


@pytest.mark.parametrize("n", [1, 2, 4])
def test_gleu_counts_as_a_counter_does_whatever_padding_holds(n: int):
    generator = torch.Generator().manual_seed(n)

    def draw(longest: int) -> list[int]:
        length = int(torch.randint(0, longest + 1, (), generator=generator))
        return torch.randint(0, 4, (length,), generator=generator).tolist()

    hypotheses = [[draw(7) for _ in range(5)] for _ in range(6)]
    references = [[draw(9), draw(9)] for _ in range(6)]
    lengths = [torch.tensor([[len(each) for each in row] for row in rows]) for rows in (hypotheses, references)]
    for filling in (0, 3):
        value = gleu(
            torch.stack([pad(row, 7, filling) for row in hypotheses]),
            lengths[0],
            torch.stack([pad(row, 9, filling) for row in references]),
            lengths[1],
            n=n,
        )
        wanted = [
            [max(gleu_of_one(each, other, n) for other in others) for each in row]
            for row, others in zip(hypotheses, references, strict=True)
        ]
        torch.testing.assert_close(value, torch.tensor(wanted))


def test_gradient_is_that_of_the_expected_reward_on_average():
    """Over all pairs of samples, weighted by their probability, the estimate is exact."""
    torch.manual_seed(0)
    frames, vocab_size, blank = 3, 3, 0
    logits = torch.randn(1, frames, vocab_size, dtype=torch.float64, requires_grad=True)
    paths = torch.tensor(list(itertools.product(range(vocab_size), repeat=frames)))
    tokens, lengths = collapse_alignment(
        paths, torch.full((len(paths),), frames), blank_token_id=blank, pad_token_id=0
    )
    rewards = gleu(tokens[None], lengths[None], torch.tensor([[[1, 2]]]), torch.tensor([[2]]))[0].double()
    log_probs = logits.log_softmax(dim=-1)
    probs = log_probs[0].gather(1, paths.T).sum(dim=0).exp()
    (wanted,) = torch.autograd.grad(-(probs * rewards).sum(), logits, retain_graph=True)
    total = torch.zeros_like(logits)
    for first, second in itertools.product(range(len(paths)), repeat=2):
        loss = minimum_risk_loss(
            logits.log_softmax(dim=-1),
            paths[[first, second]].T[None],
            rewards[[first, second]][None],
            torch.tensor([frames]),
        )
        (gradient,) = torch.autograd.grad(loss.total, logits)
        total += gradient * float((probs[first] * probs[second]).detach())
        assert float(loss.total.detach()) == pytest.approx(-float(rewards[[first, second]].mean()))
    torch.testing.assert_close(total, wanted)


def test_padding_changes_nothing_and_gets_no_gradient():
    torch.manual_seed(1)
    logits = torch.randn(2, 4, 5)
    samples, rewards = torch.randint(0, 5, (2, 4, 3)), torch.rand(2, 3)
    lengths = torch.tensor([4, 2])
    results = []
    for filling in (0.0, float("nan")):
        given = logits.clone()
        given[1, 2:] = filling
        given.requires_grad_()
        loss = minimum_risk_loss(DenseVocabulary(given), samples, rewards, lengths).total
        loss.backward()
        assert not given.grad[1, 2:].any()
        results.append((loss.detach(), given.grad))
    torch.testing.assert_close(*results)


def test_projected_rows_give_the_same_loss_and_gradient():
    torch.manual_seed(2)
    states, table = torch.randn(2, 4, 6, requires_grad=True), torch.randn(9, 6, requires_grad=True)
    samples, rewards, lengths = torch.randint(0, 9, (2, 4, 3)), torch.rand(2, 3), torch.tensor([4, 3])
    gradients = []
    for vocabulary in (
        ProjectedVocabulary(states, VocabularyProjection(table)),
        DenseVocabulary(states @ table.T),
    ):
        loss = minimum_risk_loss(vocabulary, samples, rewards, lengths).total
        gradients.append((loss.detach(), *torch.autograd.grad(loss, (states, table))))
    for projected, dense in zip(*gradients, strict=True):
        torch.testing.assert_close(projected, dense)


@pytest.mark.parametrize(
    ("samples", "rewards", "message"),
    [
        ((1, 2, 1), (1, 1), "at least 2 for each sentence"),
        ((1, 3, 2), (1, 2), r"samples must be of shape \(1, 2, K\)"),
        ((1, 2, 2), (1, 3), r"rewards must be of shape \(1, 2\)"),
    ],
)
def test_what_cannot_be_meant_is_refused(samples: tuple[int, ...], rewards: tuple[int, ...], message: str):
    with pytest.raises(ValueError, match=message):
        minimum_risk_loss(
            torch.zeros(1, 2, 4),
            torch.zeros(samples, dtype=torch.long),
            torch.zeros(rewards),
            torch.tensor([2]),
        )
    with pytest.raises(ValueError, match="n must be a whole number >= 1"):
        ones = torch.ones(1, 1, 1, dtype=torch.long)
        gleu(ones, ones[0], ones, ones[0], n=0)
    with pytest.raises(ValueError, match=r"Lengths of hypotheses must be in 0 … 1"):
        gleu(ones, 2 * ones[0], ones, ones[0])
    with pytest.raises(ValueError, match=r"references must be of shape \(B, K, N\) with K >= 1"):
        gleu(ones, ones[0], ones[:, :0], ones[0, :, :0])


def test_samples_are_as_frequent_as_they_are_probable_and_never_impossible():
    logits = torch.tensor([[0.0, -1e4, 1.0, 2.0], [0.0, 0.0, 0.0, -1e4]])
    points = (torch.arange(1000) / 1000).expand(2, -1)
    for vocabulary in (
        DenseVocabulary(logits),
        ProjectedVocabulary(torch.eye(2), VocabularyProjection(logits.T.contiguous())),
    ):
        drawn = vocabulary.sample(points)
        shares = torch.stack([(drawn == token).float().mean(dim=1) for token in range(4)], dim=1)
        torch.testing.assert_close(shares, logits.softmax(dim=-1), atol=2e-3, rtol=0)
        assert not (drawn[0] == 1).any() and not (drawn[1] == 3).any()
