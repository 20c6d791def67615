# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""N-gram matching: hand values, brute force over strings and CTC paths, gradients, padding, refusals."""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter

import pytest
import torch

from dims_hf.objectives import (
    ProjectedVocabulary,
    VocabularyProjection,
    bag_of_ngrams_loss,
    ctc_ngram_loss,
    projection,
)
from dims_hf.objectives.ngrams import expected_bigrams, expected_length, expected_unigrams
from dims_hf.objectives.vocabulary import DenseVocabulary


BAG = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.1, 0.5, 0.4]])
# blank 0
FRAMES = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.2, 0.2, 0.6], [0.6, 0.1, 0.3]])


def ngrams_of(sequence, n):
    return Counter(zip(*(sequence[i:] for i in range(n)), strict=False))


# ---- one token per position ----


def bag_loss(probs, target, n=2, num_items=None):
    return bag_of_ngrams_loss(
        probs.log()[None], torch.tensor([target], dtype=torch.long).view(1, -1), torch.tensor([len(target)]), n=n,
        num_items=num_items,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("target", "n", "expected"),
    [
        ([0, 1, 2], 1, -0.866667),
        ([0, 1, 2], 2, -0.415),
        ([1, 0, 2], 2, -0.155),
        ([0, 0, 0], 1, -0.366667),
        ([0, 0, 0], 2, -0.12),
        ([2, 2, 1], 2, -0.08),
    ],
)
def test_bag_of_ngrams_loss_is_the_hand_value(target, n, expected):
    loss = bag_loss(BAG, target, n)
    assert loss.total.item() == pytest.approx(expected, abs=1e-6)
    assert loss.parts["ngrams"].item() == loss.total.item() and not loss.parts["ngrams"].requires_grad


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_bag_of_ngrams_loss_equals_the_expectation_over_all_strings(n):
    generator = torch.Generator().manual_seed(n)
    for length in (1, 2, 4, 5):
        probs = torch.randn(length, 3, generator=generator, dtype=torch.float64).softmax(-1)
        target = torch.randint(3, (length,), generator=generator).tolist()
        expected = Counter()
        for string in itertools.product(range(3), repeat=length):
            weight = math.prod(row[token] for row, token in zip(probs.tolist(), string, strict=True))
            for ngram, count in ngrams_of(string, n).items():
                expected[ngram] += weight * count
        bag = ngrams_of(target, n)
        match = sum(min(expected[ngram], count) for ngram, count in bag.items())
        value = -match / (length - n + 1) if bag else 0
        assert bag_loss(probs, target, n).total.item() == pytest.approx(value, abs=1e-9)


def test_repeating_what_is_there_often_enough_has_no_gradient():
    probs = torch.tensor([[0.1, 0.9], [0.1, 0.9], [0.9, 0.1]])  # token 1 is expected 1.9 times, and wanted once
    log_probs = probs.log().requires_grad_()
    bag_of_ngrams_loss(log_probs[None], torch.tensor([[1, 0, 0]]), torch.tensor([3]), n=1).total.backward()
    assert torch.equal(log_probs.grad[:, 1], torch.zeros(3)) and (log_probs.grad[:, 0] < 0).all()


def make_bags(dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    log_probs = torch.randn(5, 6, 4, generator=generator, dtype=dtype).log_softmax(-1)
    return log_probs, torch.randint(4, (5, 6), generator=generator), torch.tensor([6, 3, 0, 1, 2])


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("filling", [math.nan, math.inf, -math.inf])
def test_bag_of_ngrams_loss_ignores_padding_and_counts_short_sentences(filling, n):
    log_probs, targets, lengths = make_bags()
    alone = [bag_loss(log_probs[i, :k].exp(), targets[i, :k].tolist(), n).total for i, k in enumerate(lengths)]
    is_padding = torch.arange(6) >= lengths[:, None]
    padded = log_probs.masked_fill(is_padding[..., None], filling).requires_grad_()
    loss = bag_of_ngrams_loss(padded, targets.masked_fill(is_padding, -100), lengths, n=n)
    assert loss.total.item() == pytest.approx(sum(alone).item() / 5, rel=1e-5)
    loss.total.backward()
    assert (padded.grad[is_padding] == 0).all() and padded.grad[0].abs().sum() > 0
    assert (padded.grad[lengths < n] == 0).all()


def test_bag_of_ngrams_loss_has_the_gradient_of_finite_differences():
    log_probs, targets, lengths = make_bags(torch.float64)
    log_probs.requires_grad_()
    assert torch.autograd.gradcheck(lambda values: bag_of_ngrams_loss(values, targets, lengths).total, log_probs)


def test_bag_of_ngrams_loss_refuses_what_cannot_be_meant():
    log_probs, targets, lengths = make_bags()
    for n in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="n must be a whole number"):
            bag_of_ngrams_loss(log_probs, targets, lengths, n=n)
    for arguments, message in (
        ((log_probs[:, :4], targets, lengths), "one position for each token"),
        ((log_probs, targets + 4, lengths), "targets must be in 0 … 3"),
        ((log_probs, targets, lengths + 1), "target_lengths must be in 0 … 6"),
    ):
        with pytest.raises(ValueError, match=message):
            bag_of_ngrams_loss(*arguments)


# ---- CTC ----


def ctc_loss(probs, target, n=2):
    return ctc_ngram_loss(
        probs.log()[None],
        torch.tensor([target], dtype=torch.long).view(1, -1),
        torch.tensor([len(probs)]),
        torch.tensor([len(target)]),
        blank_token_id=0,
        n=n,
    )


@pytest.mark.parametrize(
    ("target", "n", "expected"),
    [
        ([1, 2], 2, -0.578680),
        ([2, 1], 2, -0.222335),
        ([1, 2, 1], 2, -0.531313),
        ([2, 2], 2, -0.118782),
        ([1, 2], 1, -0.967254),
        ([2, 2], 1, -0.528967),
        ([1], 2, 0.0),
        ([], 1, 0.0),
    ],
)
def test_ctc_ngram_loss_is_the_hand_value(target, n, expected):
    assert ctc_loss(FRAMES, target, n).total.item() == pytest.approx(expected, abs=1e-6)


def test_expected_counts_are_the_hand_values():
    probs = FRAMES[None]
    assert expected_unigrams(probs[..., 1:])[0].tolist() == pytest.approx([0.92, 1.05], abs=1e-6)
    for pair, expected in (((1, 2), 0.57), ((2, 1), 0.219), ((1, 1), 0.07), ((2, 2), 0.117)):
        counts = expected_bigrams(probs[..., list(pair)], probs[..., 0], torch.tensor([[pair[0] == pair[1]]]))
        assert counts.item() == pytest.approx(expected, abs=1e-6)
    vocabulary = DenseVocabulary(probs.log(), is_normalized=True)
    length = expected_length(vocabulary, probs[..., 0], torch.ones(1, 4).bool(), 0)
    assert length.item() == pytest.approx(1.97, abs=1e-6)


@functools.cache
def paths_of(num_frames, vocab_size):
    """All paths with what they collapse to."""
    paths = itertools.product(range(vocab_size), repeat=num_frames)
    return [(path, [token for token, _ in itertools.groupby(path) if token]) for path in paths]


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("num_frames", [1, 2, 4, 6])
def test_ctc_ngram_loss_equals_the_expectation_over_all_paths(num_frames, n):
    generator = torch.Generator().manual_seed(num_frames)
    for length in (1, 2, 3, 5):
        probs = torch.randn(num_frames, 3, generator=generator, dtype=torch.float64).softmax(-1)
        target = torch.randint(1, 3, (length,), generator=generator).tolist()
        counts, expected_tokens = Counter(), 0.0
        for path, tokens in paths_of(num_frames, 3):
            weight = math.prod(row[token] for row, token in zip(probs.tolist(), path, strict=True))
            expected_tokens += weight * len(tokens)
            for ngram, count in ngrams_of(tokens, n).items():
                counts[ngram] += weight * count
        bag = ngrams_of(target, n)
        match = sum(min(counts[ngram], count) for ngram, count in bag.items())
        can_match = length >= n and num_frames >= n
        value = -2 * match / ((length - n + 1) + (expected_tokens - n + 1)) if can_match else 0
        assert ctc_loss(probs, target, n).total.item() == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("path", [[1, 0, 2, 2], [0, 2, 0, 2]])
def test_ctc_ngram_loss_of_a_certain_path_is_minus_one(path):
    probs = torch.eye(3)[path].requires_grad_()
    target = [token for token, _ in itertools.groupby(path) if token]
    loss = ctc_loss(probs, target).total
    loss.backward()
    assert loss.item() == pytest.approx(-1, abs=1e-6)


@pytest.mark.parametrize("n", [1, 2])
def test_ctc_ngram_loss_of_blanks_alone_is_zero_and_finite(n):
    log_probs = torch.eye(3)[[0, 0, 0]].log().requires_grad_()
    loss = ctc_ngram_loss(
        log_probs[None], torch.tensor([[1, 2]]), torch.tensor([3]), torch.tensor([2]), blank_token_id=0, n=n
    )
    loss.total.backward()
    assert loss.total.item() == 0 and log_probs.grad.isfinite().all()


def make_paths(dtype=torch.float32):
    generator = torch.Generator().manual_seed(2)
    log_probs = torch.randn(6, 7, 5, generator=generator, dtype=dtype).log_softmax(-1)
    targets = torch.randint(1, 5, (6, 4), generator=generator)
    return log_probs, targets, torch.tensor([7, 4, 2, 0, 3, 1]), torch.tensor([4, 3, 4, 2, 0, 2])


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("filling", [math.nan, math.inf, -math.inf])
def test_ctc_ngram_loss_ignores_padding_and_counts_short_sentences(filling, n):
    log_probs, targets, frames, lengths = make_paths()
    alone = [
        ctc_loss(log_probs[i, :a].exp(), targets[i, :k].tolist(), n).total
        for i, (a, k) in enumerate(zip(frames.tolist(), lengths.tolist(), strict=True))
    ]
    is_padding = torch.arange(7) >= frames[:, None]
    padded = log_probs.masked_fill(is_padding[..., None], filling).requires_grad_()
    targets = targets.masked_fill(torch.arange(4) >= lengths[:, None], -100)
    loss = ctc_ngram_loss(padded, targets, frames, lengths, blank_token_id=0, n=n)
    assert loss.total.item() == pytest.approx(sum(alone).item() / 6, rel=1e-5)
    loss.total.backward()
    assert (padded.grad[is_padding] == 0).all() and padded.grad[0].abs().sum() > 0
    assert (padded.grad[3:5] == 0).all()


@pytest.mark.parametrize("n", [1, 2])
def test_ctc_ngram_loss_has_the_gradient_of_finite_differences(n):
    log_probs, *rest = make_paths(torch.float64)
    log_probs.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda values: ctc_ngram_loss(values, *rest, blank_token_id=0, n=n).total, log_probs
    )


@pytest.mark.parametrize("rows_per_chunk", [1, 5, 100])
@pytest.mark.parametrize("is_ctc", [False, True])
def test_ngram_losses_of_hidden_states_are_those_of_their_log_probabilities(is_ctc, rows_per_chunk, monkeypatch):
    monkeypatch.setattr(projection, "_MIN_CHUNK_ROWS", rows_per_chunk)
    monkeypatch.setattr(projection, "_CHUNK_BYTES", {"cpu": 0})
    states, table = torch.randn(6, 7, 3, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    _, targets, frames, lengths = make_paths()

    def loss(vocabulary):
        if is_ctc:
            return ctc_ngram_loss(vocabulary, targets, frames, lengths, blank_token_id=0).total
        return bag_of_ngrams_loss(vocabulary, torch.arange(42).view(6, 7) % 5, frames).total

    plain = loss((states @ table.T).log_softmax(-1))
    ours = loss(ProjectedVocabulary(states, VocabularyProjection(table)))
    torch.testing.assert_close(ours, plain)
    for gradient, expected in zip(
        *(torch.autograd.grad(each, (states, table)) for each in (ours, plain)), strict=True
    ):
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-4)


def ctc_loss_of_references(targets, lengths):
    frames = torch.tensor([len(FRAMES)])
    return ctc_ngram_loss(FRAMES.log()[None], targets[None], frames, lengths[None], blank_token_id=0).total.item()


def test_counts_of_several_references_are_averaged():
    targets, lengths = torch.tensor([[1, 2, -100], [2, 1, -100]]), torch.tensor([2, 2])
    assert ctc_loss_of_references(targets, lengths) == pytest.approx(-0.729949, abs=1e-6)
    # thrice the same is once; one without n-grams is none
    same = torch.tensor([[1, 2, 1]] * 4)
    for counted in ([3, 3, 3, 3], [3, 0, 3, 1]):
        assert ctc_loss_of_references(same, torch.tensor(counted)) == pytest.approx(-0.531313, abs=1e-6)
    assert ctc_loss_of_references(same, torch.tensor([0, 1, 0, 1])) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_ngram_losses_of_half_precision_are_finite_fp32(dtype):
    log_probs, *rest = make_paths()
    loss = ctc_ngram_loss(log_probs.to(dtype), *rest, blank_token_id=0).total
    assert loss.isfinite() and loss.dtype == torch.float32


@pytest.mark.parametrize("loss", [bag_of_ngrams_loss, functools.partial(ctc_ngram_loss, blank_token_id=0)])
def test_ngram_losses_of_nothing_are_zero_with_a_gradient(loss):
    log_probs = torch.full((2, 3, 4), math.nan).requires_grad_()
    nothing = torch.zeros(2, dtype=torch.long)
    lengths = (nothing, nothing) if isinstance(loss, functools.partial) else (nothing,)
    value = loss(log_probs, torch.full((2, 3), -100), *lengths).total
    value.backward()
    assert value.item() == 0 and torch.equal(log_probs.grad, torch.zeros_like(log_probs))


def test_ctc_ngram_loss_refuses_what_cannot_be_meant():
    log_probs, targets, frames, lengths = make_paths()
    for n in (0, 3, True):
        with pytest.raises(ValueError, match="n must be 1 or 2"):
            ctc_ngram_loss(log_probs, targets, frames, lengths, blank_token_id=0, n=n)
    for arguments, blank, message in (
        ((log_probs[0], targets, frames, lengths), 0, "log_probs must be of shape"),
        ((log_probs, targets, frames + 1, lengths), 0, "frame_lengths must be in 0 … 7"),
        ((log_probs, targets, frames, lengths + 1), 0, "target_lengths must be in 0 … 4"),
        ((log_probs, targets + 5, frames, lengths), 0, "targets must be in 0 … 4"),
        ((log_probs, targets[0], frames, lengths), 0, "targets must be of shape"),
        ((log_probs, targets, frames, lengths[:2]), 0, "target_lengths must be integers of shape"),
        ((log_probs, targets * 0, frames, lengths), 0, "targets hold blank_token_id 0"),
        ((log_probs, targets, frames, lengths), -1, "blank_token_id -1 is not in the vocabulary"),
    ):
        with pytest.raises(ValueError, match=message):
            ctc_ngram_loss(*arguments, blank_token_id=blank)
