# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Several references: hand values of the annealing, equality with CTC, references that do not fit."""

from __future__ import annotations

import math

import pytest
import torch

from dims_hf.objectives import (
    ProjectedVocabulary,
    VocabularyProjection,
    anneal_references,
    imputer_loss,
    multi_reference_loss,
)


# two sentences, three references of each
NLL, LENGTHS = torch.tensor([[4.0, 3, 6], [2, 5, 2.5]]), torch.tensor([[4, 4, 5], [5, 6, 5]])


@pytest.mark.parametrize(
    ("progress", "expected"),
    [(0, 0.775862), (1 / 3, 0.602400), (2 / 3, 0.428937), (5 / 6, 0.492246), (1, 0.555556)],
)
def test_annealed_losses_are_the_hand_values(progress, expected):
    assert anneal_references(NLL, LENGTHS, progress=progress).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.8, 1.0])
def test_annealed_micro_batches_with_common_items_add_up(progress):
    options = {"progress": progress, "num_items": int(LENGTHS.sum())}
    whole = anneal_references(NLL, LENGTHS, **options)
    parts = [anneal_references(NLL[rows], LENGTHS[rows], **options) for rows in (slice(0, 1), slice(1, 2))]
    assert sum(parts).item() == pytest.approx(whole.item(), rel=1e-6)


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.8, 1.0])
def test_references_that_do_not_fit_or_do_not_exist_add_nothing(progress):
    nll = torch.cat([NLL, torch.full((1, 3), math.inf)]).requires_grad_()
    lengths = torch.cat([LENGTHS, torch.tensor([[3, 0, 1]])])
    total = anneal_references(nll, lengths, progress=progress)
    assert total.item() == pytest.approx(anneal_references(NLL, LENGTHS, progress=progress).item(), rel=1e-6)
    total.backward()
    assert nll.grad.isfinite().all() and (nll.grad[2] == 0).all() and nll.grad[:2].abs().sum() > 0
    alone = anneal_references(nll[2:], lengths[2:], progress=progress)
    alone.backward()
    assert alone.item() == 0


@pytest.mark.parametrize("options", [{"progress": -0.1}, {"progress": 1.1}, {"progress": 0, "turning_point": 1}])
def test_a_progress_out_of_range_is_refused(options):
    with pytest.raises(ValueError, match="progress must be in|turning_point must be between"):
        anneal_references(NLL, LENGTHS, **options)


def make_batch():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(1, 6, (3, 2, 3), generator=generator)
    lengths = torch.tensor([[3, 2], [1, 3], [2, 0]])
    return torch.randn(3, 7, 6, generator=generator), targets, torch.tensor([7, 6, 5]), lengths


def test_one_reference_three_times_is_ctc():
    logits, targets, frames, lengths = make_batch()
    arguments = logits, targets[:, :1].expand(-1, 3, -1), frames, lengths[:, :1].expand(-1, 3)
    ctc = imputer_loss(logits, targets[:, 0], frames, lengths[:, 0], blank_token_id=0, num_items=1).total.item()
    tokens = int(lengths[:, 0].sum())
    losses = [
        multi_reference_loss(*arguments, blank_token_id=0, progress=progress).total.item()
        for progress in (0, 1, 2 / 3)
    ]
    assert losses[:2] == pytest.approx([ctc / tokens] * 2, rel=1e-5)
    assert losses[2] == pytest.approx((ctc - 3 * math.log(3)) / tokens, rel=1e-5)


@pytest.mark.parametrize("progress", [0.3, 0.9])
def test_losses_of_hidden_states_are_those_of_their_logits(progress):
    _, targets, frames, lengths = make_batch()
    states, table = torch.randn(3, 7, 4, requires_grad=True), torch.randn(6, 4, requires_grad=True)
    options = {"blank_token_id": 0, "progress": progress}
    losses = [
        multi_reference_loss(vocabulary, targets.masked_fill(torch.arange(3) >= lengths[..., None], -100), frames,
                             lengths, **options)
        for vocabulary in (states @ table.T, ProjectedVocabulary(states, VocabularyProjection(table)))
    ]  # fmt: skip
    torch.testing.assert_close(losses[0].total, losses[1].total)
    assert losses[0].parts["skipped"].item() == 0
    gradients = [torch.autograd.grad(loss.total, (states, table)) for loss in losses]
    for gradient, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-4)
    assert (gradients[0][0][2, 5:] == 0).all()


def test_references_that_do_not_fit_are_counted():
    logits, targets, frames, lengths = make_batch()
    loss = multi_reference_loss(logits, targets, frames.clamp(max=2), lengths, blank_token_id=0, progress=0.5)
    assert loss.parts["skipped"].item() >= 2 and loss.total.isfinite()
    with pytest.raises(ValueError, match="Pad sentences with empty references"):
        multi_reference_loss(logits, targets[:, 0], frames, lengths, blank_token_id=0, progress=0.5)
