# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Objectives of graphs of words: likelihood of a target, expected n-gram precision, and distance from another graph.

Shapes: B batch, A vertices, T target length (with `<s>` and `</s>`), G n-grams of a target, V vocabulary, D hidden.
"""

from __future__ import annotations

import torch

from dims_hf.models.graph import find_open_links, force_words, graph_nll, passing_probabilities
from dims_hf.models.ragged import find_real
from dims_hf.objectives.dims import hidden_distance
from dims_hf.objectives.reduction import Loss, divide_by_items
from dims_hf.objectives.vocabulary import Vocabulary, as_vocabulary, pick_positions


_MIN_PASSING_PROBABILITY = 1e-3


def graph_loss(
    logits: torch.Tensor | Vocabulary,
    transition_log_probs: torch.Tensor,
    targets: torch.Tensor,
    vertex_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    *,
    force_emits: torch.Tensor | None = None,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    Sum over sentences of −log p(target | source) over all paths of vertices, divided by `num_items`.

    Of the vocabulary, the log-probabilities of the target's own tokens alone are made. A target without a path (more
    tokens than vertices) adds nothing, and no gradient.

    Source: Huang et al. 2022 (arXiv 2205.07459), eq. 3–6; its code has a mean over sentences of the NLL per token,
    which weighs a token of a long sentence less.

    Args:
        logits (`torch.Tensor` of shape `(B, A, V)`, or [`Vocabulary`] of shape `(B, A)`): one row per vertex; padding
            is not read.
        transition_log_probs (`torch.Tensor` of shape `(B, A, A)`): see [`graph_nll`].
        targets (`torch.LongTensor` of shape `(B, T)`): `<s> … </s>`, right-padded with anything.
        vertex_lengths, target_lengths (`torch.LongTensor` of shape `(B,)`): vertices, and tokens, of each sentence.
        force_emits (`torch.LongTensor` of shape `(B, A)`, *optional*): see [`force_words`].
        num_items (`int`, *optional*): tokens of the whole update; default those of this batch's targets with a path.

    Returns:
        [`Loss`] with parts `graph` (the loss) and `skipped` (number of targets without a path).

    Raises:
        ValueError: as [`graph_nll`].
    """
    words = read_words(logits, targets, vertex_lengths, target_lengths)
    if force_emits is not None:
        words = force_words(words, force_emits)
    nll = graph_nll(words, transition_log_probs, vertex_lengths, target_lengths)
    has_path = nll.detach() != float("inf")
    num_items = target_lengths[has_path].sum() if num_items is None else num_items
    total = divide_by_items(nll.masked_fill(~has_path, 0.0).sum(), num_items)
    return Loss(total, {"graph": total.detach(), "skipped": (~has_path).sum().float()})


def read_words(
    logits: torch.Tensor | Vocabulary,
    targets: torch.Tensor,
    vertex_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
) -> torch.Tensor:
    """Log-probabilities (B, A, T) of a target's tokens at each vertex; 0 at padding. Arguments as [`graph_loss`]."""
    vocabulary = as_vocabulary(logits)
    ids = targets.masked_fill(~find_real(target_lengths, targets.shape[1]), 0)
    return pick_positions(vocabulary, ids, find_real(vertex_lengths, vocabulary.shape[1]))


def graph_ngram_loss(
    word_log_probs: torch.Tensor,
    transition_log_probs: torch.Tensor,
    targets: torch.Tensor,
    vertex_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    *,
    order: int = 2,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    Sum over sentences of 1 − BP · precision, divided by `num_items`: the expected n-gram precision of all paths.

    With π the passing probabilities, the expected number of times that paths read the n-gram g, clipped by how often
    the target has it (c_g), over the expected number of n-grams:

        C_g = Σ ((π ⊙ P(g_1)) E ⊙ P(g_2)) E … ⊙ P(g_n),   precision = Σ_g min(C_g, c_g) / Σ π E^{n−1},
        BP = min(1, exp(1 − T / Σ_v π(v))).

    Source: Ma et al. 2023 (FA-DAT, arXiv 2303.06662), §3; its loss is this one less 1. n-grams count `<s>` and `</s>`.
    Products of n probabilities need no log space, and no column of the vocabulary but the target's.

    Args:
        word_log_probs (`torch.Tensor` of shape `(B, A, T)`): of [`read_words`].
        transition_log_probs, targets, vertex_lengths, target_lengths: as for [`graph_loss`].
        order (`int`): n, at least 1.
        num_items (`int`, *optional*): sentences of the whole update; default those of this batch.

    Returns:
        [`Loss`] with parts `ngram` (the loss) and, as means over sentences, `precision`, `brevity` (BP) and
        `expected_length`. A target with more tokens than vertices, or fewer than n, adds nothing.

    Raises:
        ValueError: for an order below 1.
    """
    if order < 1:
        raise ValueError(f"order must be >= 1, got {order}. FA-DAT uses 2.")
    fits = (target_lengths <= vertex_lengths) & (target_lengths >= order)
    passing = passing_probabilities(transition_log_probs, vertex_lengths)
    is_vertex = find_real(vertex_lengths, passing.shape[1])
    is_open = find_open_links(vertex_lengths, passing.shape[1])
    links = transition_log_probs.to(passing.dtype).masked_fill(~is_open, float("-inf")).exp()
    words = word_log_probs.to(passing.dtype).exp() * is_vertex.unsqueeze(2)
    wanted = count_ngrams(targets, target_lengths, order)
    found = _expected_ngrams(passing, links, words, order)
    matched = torch.minimum(found, wanted.to(found.dtype)).sum(dim=1)
    precision = matched / _expected_total(passing, links, order).clamp(min=torch.finfo(passing.dtype).tiny)
    length = passing.sum(dim=1)
    # 1 where the expected length is at least the target's; clamped before exp, whose gradient is 0 there
    brevity = (1 - target_lengths / length.clamp(min=1)).clamp(max=0).exp()
    num_items = len(targets) if num_items is None else num_items
    losses = (1 - brevity * precision).masked_fill(~fits, 0.0)
    parts = {"ngram": losses, "precision": precision, "brevity": brevity, "expected_length": length}
    means = {name: divide_by_items(part.masked_fill(~fits, 0.0).sum(), num_items) for name, part in parts.items()}
    return Loss(means["ngram"], {name: mean.detach() for name, mean in means.items()})


def count_ngrams(targets: torch.Tensor, target_lengths: torch.Tensor, order: int) -> torch.Tensor:
    """
    How often each target has the n-gram that begins at each position, at its first occurrence; 0 at others.

    Args:
        targets (`torch.LongTensor` of shape `(B, T)`): right-padded with anything.
        target_lengths (`torch.LongTensor` of shape `(B,)`): tokens of each target.
        order (`int`): n.

    Returns:
        `torch.LongTensor` of shape `(B, G)`, G = T − n + 1 (0 where that is negative).
    """
    grams = targets.unfold(1, order, 1) if targets.shape[1] >= order else targets.new_zeros(len(targets), 0, order)
    is_gram = find_real((target_lengths - order + 1).clamp(min=0), grams.shape[1])
    equal = (grams.unsqueeze(1) == grams.unsqueeze(2)).all(dim=3) & is_gram.unsqueeze(1) & is_gram.unsqueeze(2)
    # strictly below the diagonal: an equal n-gram that begins earlier
    has_earlier = equal.tril(diagonal=-1).any(dim=2)
    return equal.sum(dim=2).masked_fill(has_earlier, 0)


def _expected_ngrams(passing: torch.Tensor, links: torch.Tensor, words: torch.Tensor, order: int) -> torch.Tensor:
    """(B, G): expected number of times that paths read the n-gram at each position of the target."""
    columns = words.transpose(1, 2)
    num_grams = max(columns.shape[1] - order + 1, 0)
    # [b, g, v]: all n-grams of the target at once, each with a row of vertices
    mass = passing.unsqueeze(1) * columns[:, :num_grams]
    for place in range(1, order):
        mass = torch.bmm(mass, links) * columns[:, place : place + num_grams]
    return mass.sum(dim=2)


def _expected_total(passing: torch.Tensor, links: torch.Tensor, order: int) -> torch.Tensor:
    """(B,): expected number of n-grams of a path."""
    mass = passing.unsqueeze(1)
    for _ in range(1, order):
        mass = torch.bmm(mass, links)
    return mass.sum(dim=(1, 2))


def graph_dims_loss(
    student: Vocabulary,
    teacher: Vocabulary,
    student_transitions: torch.Tensor,
    teacher_transitions: torch.Tensor,
    student_hidden: torch.Tensor,
    teacher_hidden: torch.Tensor,
    vertex_lengths: torch.Tensor,
    *,
    temperature: float = 1.0,
    student_temperature: float = 1.0,
    hidden_weight: float = 0.0,
    hidden_squared: bool = False,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    Sum over vertices of π(v) · (KL(teacher ‖ student) of words + that of transitions), plus λ · distance of hidden
    states where π(v) > 0.5, divided by `num_items`; π are the teacher's passing probabilities.

    A vertex that no path of the teacher passes says nothing, hence the weight; π sums to the expected length.

    Args:
        student, teacher ([`Vocabulary`] of shape `(B, A)`): words; the teacher gets no gradient.
        student_transitions, teacher_transitions (`torch.Tensor` of shape `(B, A, A)`): log-probabilities, -inf where
            there is none.
        student_hidden, teacher_hidden (`torch.Tensor` of shape `(B, A, D)`): last decoder states.
        vertex_lengths (`torch.LongTensor` of shape `(B,)`): vertices of each sentence.
        temperature, student_temperature (`float`): of the teacher's and of the student's words; transitions have none.
        hidden_weight (`float`): λ.
        hidden_squared (`bool`): squared distance instead of the distance.
        num_items (`int`, *optional*): divides the sums; default Σ π.

    Returns:
        [`Loss`] with parts `kl`, `transition` and `hidden`, each before its weight.
    """
    passing = passing_probabilities(teacher_transitions, vertex_lengths).detach()
    # the others weigh next to nothing, and need not be projected
    is_passed = (passing >= _MIN_PASSING_PROBABILITY) & find_real(vertex_lengths, passing.shape[1])

    def rows_of(student_log_probs: torch.Tensor, teacher_log_probs: torch.Tensor) -> torch.Tensor:
        labels = (teacher_log_probs.detach() / temperature).log_softmax(dim=-1)
        return (labels.exp() * (labels - (student_log_probs / student_temperature).log_softmax(dim=-1))).sum(dim=-1)

    words = student.select(is_passed).map_rows(rows_of, teacher.select(is_passed))
    # closed transitions have probability 0 in both: 0 · (−∞ − −∞) would be NaN
    is_link = find_open_links(vertex_lengths, passing.shape[1]) & (teacher_transitions != float("-inf"))
    logs = [each.masked_fill(~is_link, 0.0) for each in (student_transitions, teacher_transitions.detach())]
    links = ((logs[1].exp() * (logs[1] - logs[0])).masked_fill(~is_link, 0.0).sum(dim=2) * passing).sum()
    is_likely = is_passed & (passing > 0.5)
    distance = hidden_distance(student_hidden[is_likely], teacher_hidden[is_likely], squared=hidden_squared)
    num_items = passing.sum() if num_items is None else num_items
    token, transition, hidden = (
        divide_by_items(part, num_items) for part in ((words * passing[is_passed]).sum(), links, distance.sum())
    )
    parts = {"kl": token.detach(), "transition": transition.detach(), "hidden": hidden.detach()}
    return Loss(token + transition + hidden_weight * hidden, parts)
