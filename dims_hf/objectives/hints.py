# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Regularisation of decoder states: similarity of neighbours, and hints of an autoregressive teacher.

Shapes: L layers, B batch, N target positions, S source positions, H heads, D hidden.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from dims_hf.models.ragged import in_fp32
from dims_hf.objectives.reduction import Loss, divide_by_items


# Cosine from which the hint grows no further: parallel states would have an infinite loss.
_MAX_COSINE = 1 - 1e-6


def similarity_loss(
    hidden_states: torch.Tensor,
    target_embeddings: torch.Tensor,
    is_content: torch.Tensor,
    *,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    Sum over neighbours t, t + 1 of 1 + cos(h_t, h_{t+1}) · (1 − cos(e_t, e_{t+1})), divided by `num_items`: states of
    unlike tokens should be unlike, which tells a model not to write a token twice.

    Source: similarity term of Wang et al. 2019 (arXiv 1902.10245), with weight 2 beside the cross-entropy.

    Args:
        hidden_states (`torch.Tensor` of shape `(B, N, D)`): last decoder layer's output.
        target_embeddings (`torch.Tensor` of shape `(B, N, E)`): of the target's tokens; they get no gradient.
        is_content (`torch.BoolTensor` of shape `(B, N)`): True for content; pairs of other positions are left out.
        num_items (`int`, *optional*): pairs of the whole update; default those of this batch.

    Returns:
        [`Loss`] with part `similarity`. No pair gives exactly 0, with a gradient.
    """
    is_pair = is_content[:, 1:] & is_content[:, :-1]
    # pairs are selected before the cosine: padding of NaN must not reach a gradient
    similar = _cosine(hidden_states[:, :-1][is_pair], hidden_states[:, 1:][is_pair])
    alike = _cosine(target_embeddings.detach()[:, :-1][is_pair], target_embeddings.detach()[:, 1:][is_pair])
    total = divide_by_items((1 + similar * (1 - alike)).sum(), is_pair.sum() if num_items is None else num_items)
    return Loss(total, {"similarity": total.detach()})


def hidden_hint_loss(
    student_hidden: torch.Tensor,
    teacher_hidden: torch.Tensor,
    is_content: torch.Tensor,
    *,
    student_threshold: float = 0.5,
    teacher_threshold: float = 0.5,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    Sum over layers and pairs s < t of −log(1 − cos(h_s, h_t)) of the student, where that cosine is at least
    `student_threshold` and the teacher's at most `teacher_threshold`, divided by `num_items`.

    Source: Li et al. 2019 (arXiv 1909.06708), Eq. 4–5, as in the paper: in the released code the teacher's states are
    the student's.

    Args:
        student_hidden, teacher_hidden (`torch.Tensor` of shape `(L, B, N, D)`): decoder states at the same positions;
            widths may differ, the teacher gets no gradient.
        is_content (`torch.BoolTensor` of shape `(B, N)`): True for content.
        student_threshold, teacher_threshold (`float`): cosines.
        num_items (`int`, *optional*): pairs of the whole update, times layers; default those of this batch.

    Returns:
        [`Loss`] with part `hidden_hint`. No pair gives exactly 0, with a gradient.
    """
    # each pair once, s < t
    is_pair = (is_content.unsqueeze(2) & is_content.unsqueeze(1)).triu(1)
    cosines = _all_cosines(student_hidden, is_content)[:, is_pair]
    with torch.no_grad():
        teacher_cosines = _all_cosines(teacher_hidden, is_content)[:, is_pair]
    is_wrong = (cosines >= student_threshold) & (teacher_cosines <= teacher_threshold)
    # −log(1 − d) of pairs that do not count may be anything
    hints = -torch.log1p(-cosines.clamp(max=_MAX_COSINE).masked_fill(~is_wrong, 0.0))
    total = divide_by_items(hints.sum(), cosines.numel() if num_items is None else num_items)
    return Loss(total, {"hidden_hint": total.detach()})


def attention_hint_loss(
    student_attention: torch.Tensor,
    teacher_attention: torch.Tensor,
    is_content: torch.Tensor,
    *,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    Sum over layers, heads and target positions of KL(teacher ‖ student) of attention to the source, divided by
    `num_items`.

    Source: Li et al. 2019 (arXiv 1909.06708), Eq. 6.

    Args:
        student_attention, teacher_attention (`torch.Tensor` of shape `(L, B, H, N, S)`): probabilities, 0 at padding
            of the source; the teacher gets no gradient.
        is_content (`torch.BoolTensor` of shape `(B, N)`): True for content.
        num_items (`int`, *optional*): positions of the whole update, times layers and heads; default those of this
            batch.

    Returns:
        [`Loss`] with part `attention_hint`. No position gives exactly 0, with a gradient.
    """
    student, teacher = (
        in_fp32(each).permute(1, 3, 0, 2, 4)[is_content] for each in (student_attention, teacher_attention.detach())
    )
    least = torch.finfo(student.dtype).tiny
    # `xlogy` is 0 at 0; log 0 of the student is finite, and times a teacher of 0 nothing
    kl = torch.xlogy(teacher, teacher) - teacher * student.clamp(min=least).log()
    total = divide_by_items(kl.sum(), kl[..., 0].numel() if num_items is None else num_items)
    return Loss(total, {"attention_hint": total.detach()})


def _cosine(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Cosines (M,) of rows (M, D), in fp32."""
    return F.cosine_similarity(in_fp32(first), in_fp32(second), dim=-1)


def _all_cosines(hidden_states: torch.Tensor, is_content: torch.Tensor) -> torch.Tensor:
    """Cosines (L, B, N, N) of each two positions; 0 where one is no content, whatever it holds."""
    states = torch.where(is_content.unsqueeze(2), in_fp32(hidden_states), 0.0)
    directions = F.normalize(states, dim=-1)
    return directions @ directions.transpose(-1, -2)
