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
    imputer_dims_loss,
    imputer_loss,
    projected,
    projected_cmlm_loss,
    projected_cmlmc_loss,
    projected_dims_loss,
    projected_imputer_dims_loss,
    projected_imputer_loss,
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


def test_projected_dims_loss_without_references_has_no_accuracy():
    states, table, teacher_states, teacher_table, labels = make_inputs()
    arguments = states, VocabularyProjection(table), teacher_states, VocabularyProjection(teacher_table)
    alone, beside = projected_dims_loss(*arguments), projected_dims_loss(*arguments, labels.clamp(min=0))
    assert torch.equal(alone.total, beside.total)
    assert set(beside.parts) - set(alone.parts) == {"accuracy"}


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


# Repeats, a target as long as its frames, an empty one, one that does not fit (repeats need a blank between).
TARGETS, BLANK = [[7, 7, 9, 7], [5, 6, 8], [], [9, 9, 9]], 2
FRAMES = [9, 3, 4, 4]


def make_alignments(dtype=torch.float32):
    """States of a padded batch, a table, and what both losses take beside them, some frames forced."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(4, max(FRAMES), WIDTH, generator=generator, dtype=dtype).requires_grad_()
    table = torch.randn(VOCAB, WIDTH, generator=generator, dtype=dtype).requires_grad_()
    targets = torch.full((4, 4), -100)
    for row, target in zip(targets, TARGETS, strict=True):
        row[: len(target)] = torch.tensor(target, dtype=torch.long)
    arguments = (targets, torch.tensor(FRAMES), torch.tensor([len(target) for target in TARGETS]))
    force_emits = torch.full((4, max(FRAMES)), -1)
    force_emits[0, 3], force_emits[1, 1], force_emits[2, 2] = 3, 3, 0
    return states, table, arguments, force_emits


@pytest.mark.parametrize("fixed", [None, FIXED])
@pytest.mark.parametrize("num_items", [None, 50, torch.tensor(50)])
@pytest.mark.parametrize("is_forced", [False, True])
@pytest.mark.parametrize("most_kept", [0, projected._MAX_KEPT_BYTES])
def test_projected_imputer_loss_equals_the_plain_one(most_kept, is_forced, num_items, fixed, monkeypatch):
    monkeypatch.setattr(projected, "_MAX_KEPT_BYTES", most_kept)
    states, table, arguments, force_emits = make_alignments()
    options = {"blank_token_id": BLANK, "num_items": num_items, "force_emits": force_emits if is_forced else None}
    gradients, _ = compare(
        lambda: imputer_loss(logits_of(states, table, fixed), *arguments, **options),
        lambda: projected_imputer_loss(states, VocabularyProjection(table, fixed), *arguments, **options),
        (states, table),
    )
    has_gradient = gradients[0].abs().sum(dim=2) > 0
    assert has_gradient.sum(dim=1).tolist() == [9, 3, 4, 0]


def test_projected_imputer_loss_has_the_gradient_of_finite_differences_in_fp64():
    states, table, arguments, force_emits = make_alignments(torch.float64)

    def total(states, table):
        options = {"blank_token_id": BLANK, "force_emits": force_emits}
        return projected_imputer_loss(states, VocabularyProjection(table), *arguments, **options).total

    assert torch.autograd.gradcheck(total, (states, table), fast_mode=True)


def test_projected_imputer_loss_under_bf16_autocast_has_gradients_no_worse():
    states, table, arguments, force_emits = make_alignments()
    options = {"blank_token_id": BLANK, "force_emits": force_emits}

    def plain():
        return imputer_loss(logits_of(states, table), *arguments, **options)

    def ours():
        return projected_imputer_loss(states, VocabularyProjection(table), *arguments, **options)

    results = []
    for loss in (plain, ours):
        with torch.autocast("cpu", torch.bfloat16):
            value = loss().total
        results.append((value, torch.autograd.grad(value, (states, table))))
    (expected, plain_gradients), (value, gradients) = results
    exact = torch.autograd.grad(plain().total, (states, table))
    torch.testing.assert_close(value, expected, atol=1e-4, rtol=1e-4)
    for gradient, plain_gradient, truth in zip(gradients, plain_gradients, exact, strict=True):
        assert (gradient - truth).norm() <= 1.25 * (plain_gradient - truth).norm()


@pytest.mark.parametrize("num_items", [None, (40, 30)])
def test_projected_imputer_dims_loss_equals_the_plain_one(num_items):
    states, table, (targets, *lengths), _ = make_alignments()
    is_masked = torch.arange(max(FRAMES)) < lengths[0].unsqueeze(1) - 1
    teacher_hidden = torch.randn(int(is_masked.sum()), WIDTH, generator=torch.Generator().manual_seed(1))
    options = {"blank_token_id": BLANK, "hidden_weight": 0.4, "num_items": num_items}
    compare(
        lambda: imputer_dims_loss(
            logits_of(states, table), targets, *lengths, states, teacher_hidden, is_masked, **options
        ),
        lambda: projected_imputer_dims_loss(
            states, VocabularyProjection(table), targets, *lengths, teacher_hidden, is_masked, **options
        ),
        (states, table),
    )


def test_projected_imputer_loss_without_gradient_has_the_same_value():
    states, table, arguments, _ = make_alignments()
    loss = projected_imputer_loss(states, VocabularyProjection(table), *arguments, blank_token_id=BLANK).total
    with torch.no_grad():
        value = projected_imputer_loss(states, VocabularyProjection(table), *arguments, blank_token_id=BLANK).total
    assert not value.requires_grad and torch.equal(value, loss.detach())


@pytest.mark.parametrize(("token", "message"), [(BLANK, "targets hold the blank 2"), (VOCAB, "targets must be in 0")])
def test_projected_imputer_loss_refuses_ids_that_no_path_emits(token, message):
    states, table, (targets, *lengths), _ = make_alignments()
    targets[0, 1] = token
    with pytest.raises(ValueError, match=message):
        projected_imputer_loss(states, VocabularyProjection(table), targets, *lengths, blank_token_id=BLANK)


@pytest.mark.parametrize("suppressed_ids", [None, [3, 30]])
def test_projected_labels_are_the_logits_of_a_few_ids_and_the_likeliest_of_all(suppressed_ids):
    states, table, *_ = make_inputs()
    ids = torch.randint(VOCAB, (ROWS, 4), generator=torch.Generator().manual_seed(3))
    scores, likeliest = projected.project_labels(states, VocabularyProjection(table), ids, suppressed_ids)
    logits = logits_of(states, table).detach()
    torch.testing.assert_close(scores, logits.gather(1, ids))
    if suppressed_ids is None:
        assert likeliest is None
    else:
        assert torch.equal(likeliest, logits.index_fill(1, torch.tensor([3, 30]), -torch.inf).argmax(dim=1))


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
