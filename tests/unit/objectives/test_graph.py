# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Objectives of graphs: values worked out by hand, enumeration of paths, padding, gradients."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from dims_hf.models.graph import passing_probabilities
from dims_hf.objectives import DenseVocabulary, graph_dims_loss, graph_loss, graph_ngram_loss
from dims_hf.objectives.graph import count_ngrams, read_words


# four vertices over a, b, c
WORDS = torch.tensor([[0.5, 0.3, 0.2], [0.3, 0.4, 0.3], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8]], dtype=torch.double)
LINKS = torch.tensor([[0, 0.45, 0.35, 0.2], [0, 0, 0.6, 0.4], [0, 0, 0, 1.0], [0, 0, 0, 0]], dtype=torch.double)
A, B, C = range(3)
ABC = torch.tensor([[A, B, C]])
FOUR, THREE = torch.tensor([4]), torch.tensor([3])


def test_likelihood_is_the_hand_value_whatever_the_padding():
    loss = graph_loss(WORDS.log()[None], LINKS.log()[None], ABC, FOUR, THREE)
    assert loss.total.item() == pytest.approx(0.7273796466)
    padded_words = torch.cat([WORDS.log(), torch.full((2, 3), math.nan)])[None].expand(2, -1, -1).clone()
    padded_links = torch.full((2, 6, 6), math.nan, dtype=torch.double)
    padded_links[:, :4, :4] = LINKS.log()
    targets = torch.tensor([[A, B, C, 99, 99], [A, B, B, C, C]])  # five tokens have no path through four vertices
    loss = graph_loss(padded_words, padded_links, targets, FOUR.expand(2), torch.tensor([3, 5]), num_items=3)
    assert loss.total.item() == pytest.approx(0.7273796466)
    assert loss.parts["skipped"] == 1


def test_likelihood_of_shown_words_is_that_of_paths_through_them():
    forced = torch.tensor([[-1, 1, -1, -1]])
    loss = graph_loss(WORDS.log()[None], LINKS.log()[None], ABC, FOUR, THREE, force_emits=forced, num_items=1)
    assert loss.total.item() == pytest.approx(2.6310891600)


def test_ngram_precision_is_the_hand_value():
    words = read_words(DenseVocabulary(WORDS.log()[None], is_normalized=True), ABC, FOUR, THREE)
    loss = graph_ngram_loss(words, LINKS.log()[None], ABC, FOUR, THREE)
    assert loss.parts["expected_length"].item() == pytest.approx(307 / 100)
    assert loss.parts["brevity"] == 1
    assert loss.parts["precision"].item() == pytest.approx(7577 / 20700)
    assert loss.total.item() == pytest.approx(1 - 0.3660386473)


def enumerate_ngrams(words: torch.Tensor, links: torch.Tensor, target: list[int], order: int) -> torch.Tensor:
    """1 − BP · precision by all paths and all their words."""
    last, counts, total, length = len(words) - 1, {}, 0.0, 0.0
    for inner in (c for n in range(last) for c in itertools.combinations(range(1, last), n)):
        path = (0, *inner, last)
        weight = math.prod(links[v, w].item() for v, w in itertools.pairwise(path))
        total, length = total + weight * max(len(path) - order + 1, 0), length + weight * len(path)
        for start in range(len(path) - order + 1):
            for gram in itertools.product(range(words.shape[1]), repeat=order):
                read = math.prod(words[v, token].item() for v, token in zip(path[start:], gram))
                counts[gram] = counts.get(gram, 0.0) + weight * read
    grams = [tuple(target[i : i + order]) for i in range(len(target) - order + 1)]
    matched = sum(min(counts.get(gram, 0.0), grams.count(gram)) for gram in set(grams))
    return 1 - min(1, math.exp(1 - len(target) / length)) * matched / total


@pytest.mark.parametrize("order", [1, 2, 3])
def test_ngram_precision_of_random_graphs_equals_enumeration(order: int):
    generator = torch.Generator().manual_seed(order)
    for _ in range(6):
        size, length = (int(torch.randint(3, 6, (1,), generator=generator)) for _ in range(2))
        words = torch.rand(size, 3, generator=generator, dtype=torch.double).log().mul(2).log_softmax(1).exp()
        links = torch.rand(size, size, generator=generator, dtype=torch.double).triu(1)
        links = links / links.sum(1, keepdim=True).clamp(min=1e-9)
        target = torch.randint(3, (1, min(length, size)), generator=generator)
        lengths = torch.tensor([size]), torch.tensor([target.shape[1]])
        columns = read_words(DenseVocabulary(words.log()[None], is_normalized=True), target, *lengths)
        loss = graph_ngram_loss(columns, links.log()[None], target, *lengths, order=order, num_items=1)
        assert loss.total.item() == pytest.approx(enumerate_ngrams(words, links, target[0].tolist(), order))


def test_ngrams_are_counted_once_with_their_number():
    targets = torch.tensor([[5, 6, 5, 6, 5], [7, 7, 7, 1, 1], [5, 1, 1, 1, 1]])
    counted = count_ngrams(targets, torch.tensor([5, 3, 1]), 2)
    assert counted.tolist() == [[2, 2, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]]


def test_ngram_loss_has_a_gradient_and_ignores_padding():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, 5, generator=generator, requires_grad=True)
    scores = torch.randn(2, 6, 6, generator=generator, requires_grad=True)
    lengths, target_lengths = torch.tensor([6, 4]), torch.tensor([4, 3])
    targets = torch.randint(5, (2, 4), generator=generator)

    def loss_of(logits: torch.Tensor, scores: torch.Tensor, rows: slice, width: int, tokens: int) -> torch.Tensor:
        is_open = torch.ones(width, width, dtype=torch.bool).triu(1)
        links = scores.masked_fill(~is_open, -1e9).log_softmax(2).masked_fill(~is_open, -math.inf)
        given = targets[rows, :tokens], lengths[rows], target_lengths[rows]
        return graph_ngram_loss(read_words(logits, *given), links, *given, num_items=2).total

    apart = loss_of(logits[:1], scores[:1], slice(0, 1), 6, 4) + loss_of(
        logits[1:, :4], scores[1:, :4, :4], slice(1, 2), 4, 3
    )
    padded = scores.clone()
    padded[1, :, 4:] = -1e9  # vertices of padding take no share
    together = loss_of(logits, padded, slice(None), 6, 4)
    torch.testing.assert_close(together, apart)
    together.backward()
    assert logits.grad[0].abs().sum() > 0 and scores.grad[0].isfinite().all()
    assert not logits.grad[1, 4:].any()


def test_distance_of_a_graph_from_itself_is_zero_and_vertices_count_as_often_as_paths_pass():
    logits = WORDS.log()[None].float()
    links = LINKS.log()[None].float()
    hidden = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(0))
    words = DenseVocabulary(logits)
    same = graph_dims_loss(words, words, links, links, hidden, hidden, FOUR, hidden_weight=1.0)
    assert same.total.item() == pytest.approx(0, abs=1e-6)
    other = DenseVocabulary(torch.zeros(1, 4, 3))
    even = torch.tensor([[0, 1 / 3, 1 / 3, 1 / 3], [0, 0, 0.5, 0.5], [0, 0, 0, 1.0], [0, 0, 0, 0]]).log()[None]
    loss = graph_dims_loss(other, words, even, links, hidden + 1, hidden, FOUR, hidden_weight=0.5, num_items=2)
    passing = passing_probabilities(links, FOUR)[0]
    kl = (WORDS.float() * (WORDS.float() * 3).log()).sum(1)
    rows = [(LINKS[v] * (LINKS[v].log() - even[0, v])).nansum().item() for v in range(4)]
    assert loss.parts["kl"].item() == pytest.approx((passing * kl).sum().item() / 2, rel=1e-5)
    assert loss.parts["transition"].item() == pytest.approx((passing * torch.tensor(rows)).sum().item() / 2, rel=1e-5)
    # hidden states differ by sqrt(8) at the three vertices that most paths pass
    assert loss.parts["hidden"].item() == pytest.approx(3 * 8**0.5 / 2, rel=1e-5)
    assert loss.total.item() == pytest.approx(
        loss.parts["kl"].item() + loss.parts["transition"].item() + 0.5 * loss.parts["hidden"].item()
    )
