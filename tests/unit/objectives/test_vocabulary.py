# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Vocabularies: losses of hidden states and a table equal those of logits, gradients too, in fp32, fp64 and bf16."""

from __future__ import annotations

import pytest
import torch

from dims_hf.objectives import (
    DIVERGENCES,
    DenseVocabulary,
    ProjectedVocabulary,
    Vocabulary,
    VocabularyProjection,
    as_vocabulary,
    cmlm_loss,
    cmlmc_loss,
    dims_loss,
    imputer_dims_loss,
    imputer_loss,
    projection,
)


ROWS, WIDTH, VOCAB = 23, 8, 37
FIXED = (3, -1000.0)


@pytest.fixture(autouse=True, params=[5, 23, 100], ids=lambda rows: f"{rows}_rows_per_chunk")
def chunk_size(request, monkeypatch):
    """Several chunks with a shorter last one, exactly one, and one that is not full."""
    monkeypatch.setattr(projection, "_MIN_CHUNK_ROWS", request.param)
    monkeypatch.setattr(projection, "_CHUNK_BYTES", {"cpu": 0})


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


def vocabulary_of(states, table, fixed=None, bias=None):
    return ProjectedVocabulary(states, VocabularyProjection(table, fixed, bias))


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
def test_cmlm_loss_equals_the_plain_one(label_smoothing, num_items, fixed):
    states, table, _, _, labels = make_inputs()
    options = {"label_smoothing": label_smoothing, "num_items": num_items}
    gradients, _ = compare(
        lambda: cmlm_loss(logits_of(states, table, fixed), labels, **options),
        lambda: cmlm_loss(vocabulary_of(states, table, fixed), labels, **options),
        (states, table),
    )
    assert torch.equal(gradients[0][4], torch.zeros(WIDTH)) and gradients[0].abs().sum() > 0
    if fixed:
        assert torch.equal(gradients[1][fixed[0]], torch.zeros(WIDTH))


@pytest.mark.parametrize("fixed", [None, FIXED])
@pytest.mark.parametrize("options", [{}, {"temperature": 2.0, "student_temperature": 0.5, "hidden_squared": True}])
def test_dims_loss_equals_the_plain_one(options, fixed):
    states, table, teacher_states, teacher_table, labels = make_inputs()
    kept = labels != -100

    def plain():
        logits = logits_of(states, table, fixed), logits_of(teacher_states, teacher_table, fixed)
        return dims_loss(*(rows[kept] for rows in (*logits, states, teacher_states)), kept[kept], **options)

    def ours():
        student, teacher = vocabulary_of(states, table, fixed), vocabulary_of(teacher_states, teacher_table, fixed)
        is_masked = torch.ones_like(kept)
        return dims_loss(student, teacher, states, teacher_states, is_masked, labels=labels, **options)

    compare(plain, ours, (states, table))
    expected = cmlm_loss(logits_of(states, table, fixed), labels).parts["accuracy"]
    torch.testing.assert_close(ours().parts["accuracy"], expected)


def test_dims_loss_without_references_has_no_accuracy():
    states, table, teacher_states, teacher_table, labels = make_inputs()
    student, teacher = vocabulary_of(states, table), vocabulary_of(teacher_states, teacher_table)
    arguments = student, teacher, states, teacher_states, torch.ones(ROWS).bool()
    alone, beside = dims_loss(*arguments), dims_loss(*arguments, labels=labels.clamp(min=0))
    assert torch.equal(alone.total, beside.total)
    assert set(beside.parts) - set(alone.parts) == {"accuracy"}


@pytest.mark.parametrize("reduction", ["joint", "average"])
@pytest.mark.parametrize("num_items", [None, (40, 0), (torch.tensor(40), torch.tensor(30))])
def test_cmlmc_loss_equals_the_plain_one(reduction, num_items):
    states, table, corrected, _, labels = make_inputs()
    corrected.requires_grad_()
    is_masked = torch.arange(ROWS) < 15
    options = {"reduction": reduction, "num_items": num_items}
    compare(
        lambda: cmlmc_loss(
            logits_of(states[is_masked], table),
            logits_of(corrected[~is_masked], table),
            labels[None],
            is_masked[None],
            ~is_masked[None],
            **options,
        ),
        lambda: cmlmc_loss(
            vocabulary_of(states[is_masked], table),
            vocabulary_of(corrected[None], table),
            labels[None],
            is_masked[None],
            ~is_masked[None],
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
@pytest.mark.parametrize("most_kept", [0, projection._MAX_KEPT_BYTES])
def test_imputer_loss_equals_the_plain_one(most_kept, is_forced, num_items, fixed, monkeypatch):
    monkeypatch.setattr(projection, "_MAX_KEPT_BYTES", most_kept)
    states, table, arguments, force_emits = make_alignments()
    options = {"blank_token_id": BLANK, "num_items": num_items, "force_emits": force_emits if is_forced else None}
    gradients, _ = compare(
        lambda: imputer_loss(logits_of(states, table, fixed), *arguments, **options),
        lambda: imputer_loss(vocabulary_of(states, table, fixed), *arguments, **options),
        (states, table),
    )
    has_gradient = gradients[0].abs().sum(dim=2) > 0
    assert has_gradient.sum(dim=1).tolist() == [9, 3, 4, 0]


def test_imputer_loss_has_the_gradient_of_finite_differences_in_fp64():
    states, table, arguments, force_emits = make_alignments(torch.float64)

    def total(states, table):
        options = {"blank_token_id": BLANK, "force_emits": force_emits}
        return imputer_loss(vocabulary_of(states, table), *arguments, **options).total

    assert torch.autograd.gradcheck(total, (states, table), fast_mode=True)


def test_imputer_loss_under_bf16_autocast_has_gradients_no_worse():
    states, table, arguments, force_emits = make_alignments()
    options = {"blank_token_id": BLANK, "force_emits": force_emits}

    def plain():
        return imputer_loss(logits_of(states, table), *arguments, **options)

    def ours():
        return imputer_loss(vocabulary_of(states, table), *arguments, **options)

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
def test_imputer_dims_loss_equals_the_plain_one(num_items):
    states, table, (targets, *lengths), _ = make_alignments()
    is_masked = torch.arange(max(FRAMES)) < lengths[0].unsqueeze(1) - 1
    teacher_hidden = torch.randn(int(is_masked.sum()), WIDTH, generator=torch.Generator().manual_seed(1))
    options = {"blank_token_id": BLANK, "hidden_weight": 0.4, "num_items": num_items}
    compare(
        lambda: imputer_dims_loss(
            logits_of(states, table), targets, *lengths, states, teacher_hidden, is_masked, **options
        ),
        lambda: imputer_dims_loss(
            vocabulary_of(states, table), targets, *lengths, states, teacher_hidden, is_masked, **options
        ),
        (states, table),
    )


def test_imputer_loss_without_gradient_has_the_same_value():
    states, table, arguments, _ = make_alignments()
    loss = imputer_loss(vocabulary_of(states, table), *arguments, blank_token_id=BLANK).total
    with torch.no_grad():
        value = imputer_loss(vocabulary_of(states, table), *arguments, blank_token_id=BLANK).total
    assert not value.requires_grad and torch.equal(value, loss.detach())


@pytest.mark.parametrize(("token", "message"), [(BLANK, "targets hold the blank 2"), (VOCAB, "targets must be in 0")])
def test_imputer_loss_refuses_ids_that_no_path_emits(token, message):
    states, table, (targets, *lengths), _ = make_alignments()
    targets[0, 1] = token
    with pytest.raises(ValueError, match=message):
        imputer_loss(vocabulary_of(states, table), targets, *lengths, blank_token_id=BLANK)


@pytest.mark.parametrize("suppressed_ids", [None, [3, 30]])
def test_scores_are_the_logits_of_a_few_ids_and_the_likeliest_of_all(suppressed_ids):
    states, table, *_ = make_inputs()
    ids = torch.randint(VOCAB, (ROWS, 4), generator=torch.Generator().manual_seed(3))
    scores, likeliest = vocabulary_of(states, table).score(ids, suppressed_ids)
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

    student, teacher = vocabulary_of(states, table), vocabulary_of(teacher_states, teacher_table)
    options = {"hidden_weight": hidden_weight}
    arguments = student, teacher, states, teacher_states, torch.ones_like(kept)
    return {
        "cmlm": (
            lambda: cmlm_loss(logits_of(states, table), labels),
            lambda: cmlm_loss(student, labels),
        ),
        "dims": (plain_kl, lambda: dims_loss(*arguments, labels=labels, **options)),
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
        loss = cmlm_loss(vocabulary_of(states, table), torch.tensor([label]))
        assert loss.parts["accuracy"].item() == 1


def test_projected_loss_holds_no_more_logits_than_a_chunk(chunk_size, monkeypatch):
    shapes = []
    multiply = VocabularyProjection.multiply
    monkeypatch.setattr(
        VocabularyProjection, "multiply", lambda self, rows: shapes.append(len(rows)) or multiply(self, rows)
    )
    states, table, _, _, labels = make_inputs()
    cmlm_loss(vocabulary_of(states, table), labels)
    assert sum(shapes) == ROWS - 2 and max(shapes) <= projection._MIN_CHUNK_ROWS


# ---- what a vocabulary answers ----


def make_pair(shape=(3, 4), dtype=torch.float32, has_bias=True):
    """A projected vocabulary of rows (3, 4), the dense one of the same numbers, and what both are functions of."""
    generator = torch.Generator().manual_seed(5)
    states = torch.randn(*shape, WIDTH, generator=generator, dtype=dtype).requires_grad_()
    table = torch.randn(VOCAB, WIDTH, generator=generator, dtype=dtype).requires_grad_()
    bias = torch.randn(VOCAB, generator=generator, dtype=dtype).requires_grad_() if has_bias else None
    logits = torch.nn.functional.linear(states, table, bias).masked_fill(torch.arange(VOCAB) == FIXED[0], FIXED[1])
    inputs = (states, table, bias) if has_bias else (states, table)
    return vocabulary_of(states, table, FIXED, bias), as_vocabulary(logits), inputs


def assert_same_with_gradients(ours, plain, inputs):
    """Two results and the gradients of a weighted sum of each."""
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    weights = torch.randn(plain.shape, generator=torch.Generator().manual_seed(6), dtype=plain.dtype)
    gradients = [torch.autograd.grad((weights * each).sum(), inputs, retain_graph=True) for each in (ours, plain)]
    for gradient, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("has_mean", [False, True])
@pytest.mark.parametrize("most_kept", [0, projection._MAX_KEPT_BYTES])
def test_picked_log_probabilities_equal_the_dense_ones(most_kept, has_mean, has_bias, monkeypatch):
    monkeypatch.setattr(projection, "_MAX_KEPT_BYTES", most_kept)
    ours, plain, inputs = make_pair(has_bias=has_bias)
    ids = torch.randint(VOCAB, (3, 4, 2), generator=torch.Generator().manual_seed(7))
    picked = ours.pick(ids, has_mean=has_mean)
    assert picked.shape == (3, 4, 2 + has_mean)
    assert_same_with_gradients(picked, plain.pick(ids, has_mean=has_mean), inputs)


@pytest.mark.parametrize("has_mean", [False, True])
def test_picked_log_probabilities_have_the_gradient_of_finite_differences(has_mean):
    ours, _, inputs = make_pair(dtype=torch.float64)
    ids = torch.randint(VOCAB, (3, 4, 2), generator=torch.Generator().manual_seed(7))

    def picked(states, table, bias):
        return vocabulary_of(states, table, FIXED, bias).pick(ids, has_mean=has_mean)

    assert torch.autograd.gradcheck(picked, inputs, fast_mode=True)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_with_a_bias_equals_the_dense_one(smoothing):
    ours, plain, inputs = make_pair()
    labels = torch.arange(12).view(3, 4).masked_fill(torch.arange(12).view(3, 4) % 5 == 4, -100)
    sums, expected = (each.cross_entropy(labels, label_smoothing=smoothing) for each in (ours, plain))
    assert sums.num_items == expected.num_items == 10 and sums.num_correct == expected.num_correct
    assert_same_with_gradients(sums.summed[None], expected.summed[None], inputs)


@pytest.mark.parametrize("name", list(DIVERGENCES))
@pytest.mark.parametrize("has_labels", [False, True])
def test_divergences_equal_the_dense_ones_whatever_the_teacher_is(name, has_labels):
    ours, plain, inputs = make_pair()
    teacher_states, teacher_table = torch.randn(3, 4, WIDTH), torch.randn(VOCAB, WIDTH)
    teacher = vocabulary_of(teacher_states, teacher_table, FIXED)
    dense_teacher = as_vocabulary(logits_of(teacher_states, teacher_table, FIXED))
    labels = plain.predict().index_fill(1, torch.tensor([2]), -100) if has_labels else None
    options = {"temperature": 0.5, "student_temperature": 2.0, "labels": labels}
    expected = plain.divergence(dense_teacher, name, **options)
    assert expected.num_correct == (9 if has_labels else 0) and expected.num_items == (9 if has_labels else 12)
    for student, other in ((ours, teacher), (ours, dense_teacher), (plain, teacher)):
        sums = student.divergence(other, name, **options)
        assert (sums.num_correct, sums.num_items) == (expected.num_correct, expected.num_items)
        assert_same_with_gradients(sums.summed[None], expected.summed[None], inputs)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("kl", 0.510826), ("reverse_kl", 0.368064), ("jeffreys", 0.878890), ("total_variation", 0.4)],
)
def test_divergences_are_the_hand_values(name, expected):
    # KL: .5 ln(.5/.9) + .5 ln(.5/.1)
    student, teacher = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.5, 0.5]]).log()
    assert DIVERGENCES[name](student, teacher).item() == pytest.approx(expected, abs=1e-6)
    assert DIVERGENCES[name](teacher, teacher).item() == 0


def test_unknown_divergence_is_refused():
    with pytest.raises(ValueError, match="must be one of kl, reverse_kl, jeffreys, total_variation, got 'js"):
        make_pair()[0].divergence(make_pair()[1], "js")


def test_choices_are_the_likeliest_ids_but_suppressed_ones():
    ours, plain, _ = make_pair()
    ids, log_probs = ours.choose()
    logits = plain.logits.detach()
    assert torch.equal(ids, logits.argmax(-1)) and torch.equal(ids, ours.predict())
    torch.testing.assert_close(log_probs, logits.log_softmax(-1).amax(-1))
    suppressed = sorted(set(ids.flatten().tolist()))
    expected = logits.index_fill(2, torch.tensor(suppressed), -torch.inf)
    for vocabulary in (ours, plain):
        ids, log_probs = vocabulary.choose(suppressed)
        assert torch.equal(ids, expected.argmax(-1))
        torch.testing.assert_close(log_probs, expected.log_softmax(-1).amax(-1))
        assert torch.equal(vocabulary.score(ids.unsqueeze(-1), suppressed)[1], ids)


def test_functions_of_rows_and_neighbors_equal_those_of_dense_rows():
    ours, plain, inputs = make_pair()
    values = torch.randn(VOCAB, 2)
    results = [each.map_rows(lambda rows: rows.exp() @ values) for each in (ours, plain)]
    assert_same_with_gradients(*results, inputs)
    results = [each.map_neighbors(lambda rows: (rows[1:].exp() * rows[:-1].exp()).sum(1)) for each in (ours, plain)]
    assert results[0].shape == (11,)
    assert_same_with_gradients(*results, inputs)


@pytest.mark.parametrize("number", [0, 1])
def test_functions_of_no_neighbors_are_empty(number):
    states, table = torch.randn(number, WIDTH, requires_grad=True), torch.randn(VOCAB, WIDTH)
    for vocabulary in (vocabulary_of(states, table), as_vocabulary(logits_of(states, table))):
        result = vocabulary.map_neighbors(lambda rows: (rows[1:] * rows[:-1]).sum(1))
        assert result.shape == (0,) and vocabulary.map_rows(lambda rows: rows.sum(1)).shape == (number,)
        result.sum().backward()


def test_normalized_values_are_taken_as_they_are():
    log_probs = torch.randn(2, 5, requires_grad=True)
    vocabulary = as_vocabulary(log_probs, is_normalized=True)
    assert isinstance(vocabulary, DenseVocabulary) and as_vocabulary(vocabulary) is vocabulary
    vocabulary.pick(torch.tensor([[1], [1]])).sum().backward()
    assert torch.equal(log_probs.grad, torch.nn.functional.one_hot(torch.tensor([1, 1]), 5).float())


@pytest.mark.parametrize("is_dense", [False, True])
def test_selected_rows_are_packed_and_packed_ones_pass_through(is_dense):
    vocabulary: Vocabulary = make_pair()[is_dense]
    is_selected = torch.tensor([[True, False, True, False]] * 3)
    packed = vocabulary.select(is_selected)
    assert packed.shape == (6,) and torch.equal(packed.predict(), vocabulary.predict()[is_selected])
    assert packed.select(is_selected).shape == (6,)
    with pytest.raises(ValueError, match="Pack with the same mask"):
        packed.select(~is_selected[:2])
