# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The chunked losses equal the plain ones: value, parts and both gradients, in fp32, fp64 and bf16."""

from __future__ import annotations

import pytest
import torch

from dims_hf.objectives import (
    VocabularyProjection,
    cmlm_loss,
    cmlmc_loss,
    dims_loss,
    projected,
    projected_cmlm_loss,
    projected_cmlmc_loss,
    projected_dims_loss,
)


ROWS, WIDTH, VOCAB = 23, 8, 37
FIXED = (3, -1000.0)


@pytest.fixture(autouse=True, params=[5, 23, 100], ids=lambda rows: f"{rows}_rows_per_chunk")
def chunk_size(request, monkeypatch):
    """Several chunks with a shorter last one, exactly one, and one that is not full."""
    monkeypatch.setattr(projected, "_MIN_CHUNK_ROWS", request.param)
    monkeypatch.setattr(projected, "_CHUNK_BYTES", {"cpu": 0})


def make_inputs(seed=0, dtype=torch.float32, scale=1.0):
    """Student's and teacher's states and tables, and labels of which two are missing."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(ROWS, WIDTH), (VOCAB, WIDTH)] * 2
    states, table, teacher_states, teacher_table = (
        scale * torch.randn(*shape, generator=generator, dtype=dtype) for shape in shapes
    )
    labels = torch.randint(4, VOCAB, (ROWS,), generator=generator)
    labels[[4, 11]] = -100
    return states.requires_grad_(), table.requires_grad_(), teacher_states, teacher_table, labels


def logits_of(states, table, fixed=None):
    logits = torch.nn.functional.linear(states, table)
    if fixed is None:
        return logits
    return logits.masked_fill(torch.arange(VOCAB) == fixed[0], fixed[1])


def compare(plain, ours, inputs, atol=1e-5, autocast=False):
    """Both losses, their parts and their gradients with respect to `inputs`; returns the latter, ours and plain."""
    results = []
    for loss in (plain, ours):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            value = loss()
        results.append((value, torch.autograd.grad(value.total, inputs)))
    (expected, expected_gradients), (value, gradients) = results
    torch.testing.assert_close(value.total, expected.total, atol=atol, rtol=1e-5)
    assert value.parts.keys() >= expected.parts.keys()
    for name, part in expected.parts.items():
        torch.testing.assert_close(value.parts[name], part, atol=atol, rtol=1e-5)
        assert not value.parts[name].requires_grad
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        assert gradient.dtype == expected_gradient.dtype
        torch.testing.assert_close(gradient, expected_gradient, atol=1e-5 if not autocast else 2e-3, rtol=1e-5)
    return gradients, expected_gradients


@pytest.mark.parametrize("fixed", [None, FIXED])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("num_items", [None, 50, torch.tensor(50)])
def test_projected_cmlm_loss_equals_the_plain_one(label_smoothing, num_items, fixed):
    states, table, _, _, labels = make_inputs()
    options = {"label_smoothing": label_smoothing, "num_items": num_items}
    gradients, _ = compare(
        lambda: cmlm_loss(logits_of(states, table, fixed), labels, **options),
        lambda: projected_cmlm_loss(states, VocabularyProjection(table, fixed), labels, **options),
        (states, table),
    )
    assert torch.equal(gradients[0][4], torch.zeros(WIDTH)) and gradients[0].abs().sum() > 0
    if fixed:
        assert torch.equal(gradients[1][fixed[0]], torch.zeros(WIDTH))


@pytest.mark.parametrize("fixed", [None, FIXED])
@pytest.mark.parametrize("options", [{}, {"temperature": 2.0, "student_temperature": 0.5, "hidden_squared": True}])
def test_projected_dims_loss_equals_the_plain_one(options, fixed):
    states, table, teacher_states, teacher_table, labels = make_inputs()
    kept = labels != -100

    def plain():
        logits = logits_of(states, table, fixed), logits_of(teacher_states, teacher_table, fixed)
        return dims_loss(*(rows[kept] for rows in (*logits, states, teacher_states)), kept[kept], **options)

    def ours():
        student, teacher = (VocabularyProjection(each, fixed) for each in (table, teacher_table))
        return projected_dims_loss(states, student, teacher_states, teacher, labels, **options)

    compare(plain, ours, (states, table))
    expected = cmlm_loss(logits_of(states, table, fixed), labels).parts["accuracy"]
    torch.testing.assert_close(ours().parts["accuracy"], expected)


@pytest.mark.parametrize("reduction", ["joint", "average"])
@pytest.mark.parametrize("num_items", [None, (40, 0), (torch.tensor(40), torch.tensor(30))])
def test_projected_cmlmc_loss_equals_the_plain_one(reduction, num_items):
    states, table, corrected, _, labels = make_inputs()
    corrected.requires_grad_()
    is_masked = torch.arange(ROWS) < 15
    options = {"reduction": reduction, "num_items": num_items}
    projection = VocabularyProjection(table)
    compare(
        lambda: cmlmc_loss(
            logits_of(states[is_masked], table),
            logits_of(corrected[~is_masked], table),
            labels[None],
            is_masked[None],
            ~is_masked[None],
            **options,
        ),
        lambda: projected_cmlmc_loss(
            states[is_masked],
            corrected[~is_masked],
            projection,
            labels[is_masked],
            labels[~is_masked],
            **options,
        ),
        (states, corrected, table),
    )


def losses_of(states, table, teacher_states, teacher_table, labels, hidden_weight=0.7):
    """(plain, ours) of both token losses, over labelled rows."""
    kept = labels != -100

    def plain_kl():
        with torch.no_grad():
            soft = logits_of(teacher_states, teacher_table)
        rows = (logits_of(states, table), soft, states, teacher_states)
        return dims_loss(*(each[kept] for each in rows), kept[kept], **options)

    student, teacher = VocabularyProjection(table), VocabularyProjection(teacher_table)
    options = {"hidden_weight": hidden_weight}
    return {
        "cmlm": (
            lambda: cmlm_loss(logits_of(states, table), labels),
            lambda: projected_cmlm_loss(states, student, labels),
        ),
        "dims": (plain_kl, lambda: projected_dims_loss(states, student, teacher_states, teacher, labels, **options)),
    }


@pytest.mark.parametrize("name", ["cmlm", "dims"])
def test_projected_loss_under_bf16_autocast_has_the_plain_value_and_gradients_no_worse(name):
    inputs = make_inputs(scale=0.7)
    plain, ours = losses_of(*inputs)[name]
    gradients, plain_gradients = compare(plain, ours, inputs[:2], autocast=True)
    exact = torch.autograd.grad(plain().total, inputs[:2])  # outside autocast
    for gradient, plain_gradient, truth in zip(gradients, plain_gradients, exact, strict=True):
        assert (gradient - truth).norm() <= 1.25 * (plain_gradient - truth).norm()


@pytest.mark.parametrize("name", ["cmlm", "dims"])
def test_projected_loss_has_the_gradient_of_finite_differences_in_fp64(name):
    states, table, *rest = make_inputs(dtype=torch.float64)

    def total(states, table):
        return losses_of(states, table, *rest, hidden_weight=0)[name][1]().total  # the distance is always in fp32

    assert torch.autograd.gradcheck(total, (states, table), fast_mode=True)


@pytest.mark.parametrize("name", ["cmlm", "dims"])
def test_projected_loss_without_gradient_has_the_same_value(name):
    inputs = make_inputs()
    ours = losses_of(*inputs)[name][1]
    with torch.no_grad():
        value = ours().total
    assert not value.requires_grad and torch.equal(value, ours().total.detach())


@pytest.mark.parametrize("name", ["cmlm", "dims"])
@pytest.mark.parametrize("empty", ["labels", "rows"])
def test_projected_loss_of_nothing_is_zero_with_zero_gradients(name, empty):
    states, table, teacher_states, teacher_table, labels = make_inputs()
    rows = slice(0, 0) if empty == "rows" else slice(None)
    labels = torch.full_like(labels, -100)[rows]
    loss = losses_of(states[rows], table, teacher_states[rows], teacher_table, labels)[name][1]()
    assert loss.total.item() == 0 and loss.parts["accuracy"].item() == 0
    for gradient in torch.autograd.grad(loss.total, (states, table)):
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_projected_loss_scales_its_gradients_like_any_other():
    states, table, *rest = make_inputs()
    ours = losses_of(states, table, *rest)["dims"][1]
    once, thrice = (torch.autograd.grad(factor * ours().total, (states, table)) for factor in (1, 3))
    for first, second in zip(once, thrice, strict=True):
        torch.testing.assert_close(3 * first, second)


def test_projected_loss_of_equal_maxima_counts_as_predicted():
    states, table = torch.ones(1, 2), torch.ones(3, 2)
    for label in range(3):
        loss = projected_cmlm_loss(states, VocabularyProjection(table), torch.tensor([label]))
        assert loss.parts["accuracy"].item() == 1


def test_projected_loss_holds_no_more_logits_than_a_chunk(chunk_size, monkeypatch):
    shapes = []
    project = VocabularyProjection.project
    monkeypatch.setattr(
        VocabularyProjection, "project", lambda self, rows: shapes.append(len(rows)) or project(self, rows)
    )
    states, table, _, _, labels = make_inputs()
    projected_cmlm_loss(states, VocabularyProjection(table), labels)
    assert sum(shapes) == ROWS - 2 and max(shapes) <= projected._MIN_CHUNK_ROWS
