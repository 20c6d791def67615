# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""SMART, similarity, hints, ENGINE, hidden distance per dimension: hand values, gradients, padding."""

from __future__ import annotations

import math

import pytest
import torch

from dims_hf.objectives import (
    ProjectedVocabulary,
    VocabularyProjection,
    attention_hint_loss,
    cmlm_loss,
    dims_loss,
    engine_loss,
    expected_embeddings,
    hidden_distance,
    hidden_hint_loss,
    make_smart_inputs,
    similarity_loss,
    smart_loss,
)


# ---- SMART ----


def test_smart_inputs_are_the_hand_values():
    is_masked = torch.zeros(2, 7).bool()
    is_masked[0, [1, 3, 4]] = is_masked[1, [2, 4]] = True
    target, predicted = torch.tensor([[0, 11, 12, 13, 14, 15, 2]]), torch.tensor([[9, 11, 99, 77, 14, 98, 9]])
    inputs = make_smart_inputs(target, predicted, is_masked[:1], is_masked[1:], mask_token_id=1)
    assert inputs.tolist() == [[0, 11, 1, 77, 1, 15, 2]]


def test_smart_loss_is_over_all_content_and_its_accuracy_over_masks():
    logits = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[-100, 3, 4, -100], [5, 2, 1, 0]])
    is_masked = torch.tensor([[False, True, False, False], [True, False, False, True]])
    loss = smart_loss(logits, labels, is_masked)
    assert loss.total.item() == pytest.approx(cmlm_loss(logits, labels).total.item(), rel=1e-6)
    predicted = (logits.argmax(-1) == labels)[is_masked].float().mean()
    assert loss.parts["accuracy"].item() == pytest.approx(predicted.item())
    halved = smart_loss(logits, labels, is_masked, num_items=(12, 6))
    assert halved.total.item() == pytest.approx(loss.total.item() / 2, rel=1e-6)


# ---- hidden states ----


STUDENT = torch.tensor([[1.0, 0], [1, 1], [0, 1]])
EMBEDDINGS = torch.tensor([[1.0, 0], [0, 1], [0, 1]])
TEACHER = torch.tensor([[1.0, 0], [0, 1], [1, 1]])


def test_similarity_loss_is_the_hand_value():
    everything = torch.ones(1, 3).bool()
    loss = similarity_loss(STUDENT[None], EMBEDDINGS[None], everything)
    assert loss.total.item() == loss.parts["similarity"].item() == pytest.approx(1.353553, abs=1e-6)
    whole = similarity_loss(STUDENT[None], EMBEDDINGS[None], everything, num_items=1).total
    assert whole.item() == pytest.approx(1.707107 + 1, abs=1e-6)
    parallel = torch.tensor([[[1.0, 2], [2, 4]]])
    assert similarity_loss(parallel, EMBEDDINGS[None, :2], everything[:, :2]).total.item() == pytest.approx(2)


def test_similarity_loss_of_equal_embeddings_has_no_gradient():
    states = torch.randn(1, 3, 2, requires_grad=True)
    loss = similarity_loss(states, torch.ones(1, 3, 2), torch.ones(1, 3).bool()).total
    loss.backward()
    assert loss.item() == pytest.approx(1) and states.grad.abs().max() < 1e-6


@pytest.mark.parametrize("filling", [math.nan, math.inf])
def test_similarity_and_hints_ignore_what_is_no_content(filling):
    is_content = torch.tensor([[False, True, True, True, False]])
    states = torch.full((1, 5, 2), filling)
    states[0, 1:4] = STUDENT
    embeddings, teacher = states.clone(), states.clone()
    embeddings[0, 1:4], teacher[0, 1:4] = EMBEDDINGS, TEACHER
    states.requires_grad_()
    similarity = similarity_loss(states, embeddings, is_content).total
    hint = hidden_hint_loss(states[None], teacher[None], is_content).total
    assert similarity.item() == pytest.approx(1.353553, abs=1e-6) and hint.item() == pytest.approx(0.409316, abs=1e-6)
    (similarity + hint).backward()
    assert (states.grad[~is_content] == 0).all() and states.grad.isfinite().all()


@pytest.mark.parametrize(
    ("thresholds", "expected"), [((0.5, 0.5), 0.409316), ((0.5, 0.8), 0.818631), ((0.8, 0.8), 0.0)]
)
def test_hidden_hint_loss_is_the_hand_value(thresholds, expected):
    names = ("student_threshold", "teacher_threshold")
    loss = hidden_hint_loss(
        STUDENT[None, None], TEACHER[None, None], torch.ones(1, 3).bool(), **dict(zip(names, thresholds, strict=True))
    )
    assert loss.total.item() == pytest.approx(expected, abs=1e-6)


def test_hidden_hint_loss_of_parallel_states_is_finite():
    states = torch.ones(1, 1, 3, 2, requires_grad=True)
    loss = hidden_hint_loss(states, TEACHER[None, None], torch.ones(1, 3).bool()).total
    loss.backward()
    assert loss.isfinite() and states.grad.isfinite().all()


def test_attention_hint_loss_is_the_hand_value():
    teacher, student = torch.tensor([0.7, 0.2, 0.1, 0.0]), torch.tensor([0.5, 0.25, 0.25, 0.0])
    teacher, student = (each.expand(2, 1, 3, 2, 4).clone() for each in (teacher, student))
    student[:, :, :, 1] = teacher[:, :, :, 1] = math.nan
    student.requires_grad_()
    loss = attention_hint_loss(student, teacher, torch.tensor([[True, False]])).total
    loss.backward()
    assert loss.item() == pytest.approx(0.099273, abs=1e-6)
    assert (student.grad[:, :, :, 1] == 0).all() and student.grad.isfinite().all()


@pytest.mark.parametrize(("squared", "expected"), [(False, [5 / 2**0.5, 0]), (True, [12.5, 0])])
def test_hidden_distance_per_dimension_is_the_hand_value(squared, expected):
    states = torch.tensor([[3.0, 4.0], [1.0, 1.0]]), torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    distance = hidden_distance(*states, squared=squared, normalization="dimension")
    assert distance.tolist() == pytest.approx(expected, abs=1e-6)
    logits = torch.zeros(2, 3)
    loss = dims_loss(
        logits, logits, *states, torch.ones(1, 2).bool(), hidden_squared=squared, hidden_normalization="dimension"
    )
    assert loss.parts["hidden"].item() == pytest.approx(sum(expected) / 2, abs=1e-6)
    with pytest.raises(ValueError, match="hidden_normalization must be one of none, dimension, got 'width'"):
        hidden_distance(*states, squared=squared, normalization="width")


@pytest.mark.parametrize("name", ["reverse_kl", "jeffreys", "total_variation"])
def test_dims_loss_takes_other_divergences(name):
    student, teacher = torch.tensor([[0.9, 0.1]]).log().requires_grad_(), torch.tensor([[0.5, 0.5]]).log()
    hidden = torch.zeros(1, 2)
    expected = {"reverse_kl": 0.368064, "jeffreys": 0.878890, "total_variation": 0.4}[name]
    loss = dims_loss(student, teacher, hidden, hidden, torch.ones(1, 1).bool(), temperature=1.0, divergence=name)
    assert loss.total.item() == loss.parts[name].item() == pytest.approx(expected, abs=1e-6)
    loss.total.backward()
    assert student.grad.abs().sum() > 0


# ---- ENGINE ----


ENERGY = torch.tensor([[0.1, 0.6, 0.3], [0.2, 0.1, 0.7], [0.5, 0.4, 0.1]])  # rows: previous token, 0 begins and ends
Q = torch.tensor([[0.1, 0.7, 0.2], [0.1, 0.3, 0.6]])


def bigram_energy(vocabulary, relaxation):
    """Log-probabilities (1, 3, 3) of a bigram model that reads relaxed tokens."""
    read = expected_embeddings(vocabulary, ENERGY, relaxation=relaxation)
    return torch.cat([ENERGY[None, :1], read], dim=1).log()


@pytest.mark.parametrize(("relaxation", "expected"), [("softmax", 2.799419), ("straight_through", 1.560648)])
def test_engine_loss_is_the_hand_value(relaxation, expected):
    log_probs = Q.log()[None].requires_grad_()
    loss = engine_loss(
        log_probs, bigram_energy(log_probs, relaxation), torch.tensor([2]), eos_token_id=0, relaxation=relaxation,
        num_items=1,
    )  # fmt: skip
    assert loss.total.item() == pytest.approx(expected, abs=1e-5)
    loss.total.backward()
    assert log_probs.grad.abs().sum() > 0
    mean = engine_loss(
        log_probs, bigram_energy(log_probs, relaxation), torch.tensor([2]), eos_token_id=0, relaxation=relaxation
    )
    assert mean.total.item() == pytest.approx(expected / 3, abs=1e-5)


def test_engine_loss_of_hidden_states_is_that_of_their_log_probabilities_and_ignores_padding():
    states, table = torch.randn(2, 4, 5, requires_grad=True), torch.randn(6, 5, requires_grad=True)
    embedding, lengths = torch.randn(6, 6), torch.tensor([4, 2])
    is_padding = torch.arange(4) >= lengths[:, None]

    def loss(vocabulary, filling):
        read = expected_embeddings(vocabulary, embedding)
        energy = torch.cat([torch.zeros(2, 1, 6), read], dim=1).log_softmax(-1)
        energy = energy.masked_fill((torch.arange(5) > lengths[:, None])[..., None], filling)
        return engine_loss(vocabulary, energy, lengths, eos_token_id=2).total

    plain = loss((states @ table.T).log_softmax(-1), math.nan)
    ours = loss(ProjectedVocabulary(states, VocabularyProjection(table)), 0.0)
    torch.testing.assert_close(ours, plain)
    gradients = [torch.autograd.grad(each, (states, table)) for each in (ours, plain)]
    for gradient, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-4)
    assert (gradients[0][0][is_padding] == 0).all()


def test_engine_loss_refuses_what_cannot_be_meant():
    log_probs, energy = Q.log()[None], torch.zeros(1, 3, 3)
    for arguments, options, message in (
        ((log_probs, energy[:, :2], torch.tensor([2])), {}, "energy must be of shape"),
        ((log_probs, energy, torch.tensor([3])), {}, "target_lengths must be in 0 … 2"),
        ((log_probs, energy, torch.tensor([2])), {"relaxation": "gumbel"}, "relaxation must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            engine_loss(*arguments, eos_token_id=0, **options)
