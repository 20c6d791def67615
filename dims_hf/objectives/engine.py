# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""ENGINE: a frozen autoregressive model as the energy of what a non-autoregressive one writes.

Shapes: B batch, N target tokens, D embedding, V vocabulary (the same ids in both models).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from dims_hf.models.ragged import find_real
from dims_hf.objectives.reduction import Loss, divide_by_items
from dims_hf.objectives.targets import check_positions
from dims_hf.objectives.vocabulary import Vocabulary, as_vocabulary


def relax_softmax(log_probs: torch.Tensor) -> torch.Tensor:
    """Probabilities (M, V)."""
    return log_probs.exp()


def relax_straight_through(log_probs: torch.Tensor) -> torch.Tensor:
    """The likeliest token (M, V) as 1 among zeros, with the gradient of the probabilities."""
    probs = log_probs.exp()
    chosen = F.one_hot(log_probs.argmax(dim=-1), log_probs.shape[-1]).to(probs.dtype)
    return chosen + (probs - probs.detach())


RELAXATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "softmax": relax_softmax,
    "straight_through": relax_straight_through,
}


def expected_embeddings(
    student: torch.Tensor | Vocabulary, embedding: torch.Tensor, *, relaxation: str = "softmax"
) -> torch.Tensor:
    """
    Embedding of each position's distribution, Σ_v O(q)(v) e_v: what the energy model reads in place of tokens.

    Args:
        student (`torch.Tensor` of log-probabilities of shape `(B, N, V)`, or [`Vocabulary`] of shape `(B, N)`).
        embedding (`torch.Tensor` of shape `(V, D)`): the energy model's, scaled as it scales it.
        relaxation (`str`): one of `RELAXATIONS`.

    Returns:
        `torch.Tensor` of shape `(B, N, D)`, with a gradient to the student.

    Raises:
        ValueError: for an unknown relaxation.
    """
    vocabulary, relax = as_vocabulary(student, is_normalized=True), _find_relaxation(relaxation)
    rows = vocabulary.map_rows(lambda log_probs: relax(log_probs) @ embedding.to(log_probs.dtype))
    return rows.view(*vocabulary.shape, embedding.shape[1])


def engine_loss(
    student: torch.Tensor | Vocabulary,
    energy: torch.Tensor | Vocabulary,
    target_lengths: torch.Tensor,
    *,
    eos_token_id: int,
    relaxation: str = "softmax",
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    Sum over sentences of Σ_t −Σ_v O(q_t)(v) log P(v | O(q_<t), x) − log P(`</s>` | O(q), x), divided by `num_items`.

    Source: Tu et al. 2020 (arXiv 2005.00850), Eq. 4–6. P is to be frozen and in evaluation mode, and computed from
    [`expected_embeddings`], so that the gradient also flows through what P has read.

    Args:
        student (`torch.Tensor` of log-probabilities of shape `(B, N, V)`, or [`Vocabulary`] of shape `(B, N)`): q.
        energy (`torch.Tensor` of log-probabilities of shape `(B, N + 1, V)`, or [`Vocabulary`] of shape `(B, N + 1)`):
            log P of the token after each prefix, `<s>` alone first.
        target_lengths (`torch.LongTensor` of shape `(B,)`): tokens of each sentence, 0 … N.
        eos_token_id (`int`): id of `</s>`.
        relaxation (`str`): O of the cross-entropy, one of `RELAXATIONS`.
        num_items (`int`, *optional*): tokens of the whole update, `</s>` included; default Σ (`target_lengths` + 1).

    Returns:
        [`Loss`] with part `energy`. Padding has no influence and gradient 0.

    Raises:
        ValueError: for shapes that do not fit, lengths out of range, or an unknown relaxation.
    """
    vocabulary, model = (as_vocabulary(each, is_normalized=True) for each in (student, energy))
    check_positions(vocabulary, target_lengths, "target_lengths")
    relax, (batch, width) = _find_relaxation(relaxation), vocabulary.shape
    if model.shape != (batch, width + 1) or model.vocab_size != vocabulary.vocab_size:
        raise ValueError(
            f"energy must be of shape ({batch}, {width + 1}, {vocabulary.vocab_size}), got "
            f"({', '.join(map(str, model.shape))}, {model.vocab_size}). One row more than the student's: `</s>`."
        )
    is_token = find_real(target_lengths, width)
    before_end = find_real(target_lengths, width + 1)
    is_end = find_real(target_lengths + 1, width + 1) & ~before_end
    tokens = vocabulary.select(is_token).map_rows(
        lambda log_probs, energies: (relax(log_probs) * energies).sum(dim=-1), model.select(before_end)
    )
    ends = model.select(is_end).pick(target_lengths.new_full((batch, 1), eos_token_id))
    num_items = (target_lengths + 1).sum() if num_items is None else num_items
    total = divide_by_items(-(tokens.sum() + ends.sum()), num_items)
    return Loss(total, {"energy": total.detach()})


def _find_relaxation(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    if name not in RELAXATIONS:
        raise ValueError(f"relaxation must be one of {', '.join(RELAXATIONS)}, got {name!r}.")
    return RELAXATIONS[name]
