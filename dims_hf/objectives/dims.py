# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The DiMS objective: match the teacher's soft labels and last hidden states at masked positions."""

import torch

from dims_hf.objectives.reduction import Loss, divide_by_items, select_positions


def soft_label_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    *,
    temperature: float = 0.5,
    student_temperature: float = 1.0,
) -> torch.Tensor:
    """
    KL(teacher ‖ student) of each row, in nats and fp32: (M,).

    Source: Eq. of §3.1 of Norouzi et al. 2023. The reference sharpens the teacher only (0.5) and has no T² factor.

    Args:
        student_logits, teacher_logits (`torch.Tensor` of shape `(M, V)`): the teacher receives no gradient.
        temperature, student_temperature (`float`): logits are divided by them before the softmax.
    """
    teacher_log_probs = (teacher_logits.detach().float() / temperature).log_softmax(dim=-1)
    student_log_probs = (student_logits.float() / student_temperature).log_softmax(dim=-1)
    return (teacher_log_probs.exp() * (teacher_log_probs - student_log_probs)).sum(dim=-1)


def hidden_distance(student_hidden: torch.Tensor, teacher_hidden: torch.Tensor, *, squared: bool) -> torch.Tensor:
    """Euclidean distance (or its square) between rows of (M, D), in fp32: (M,). Equal rows have gradient 0."""
    difference = student_hidden.float() - teacher_hidden.detach().float()
    if squared:
        return difference.square().sum(dim=-1)
    return torch.linalg.vector_norm(difference, dim=-1)


def dims_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    student_hidden: torch.Tensor,
    teacher_hidden: torch.Tensor,
    is_masked: torch.BoolTensor,
    *,
    temperature: float = 0.5,
    student_temperature: float = 1.0,
    hidden_weight: float = 0.7,
    hidden_squared: bool = False,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    Sum over masked tokens of KL(teacher ‖ student) + λ ‖e_t − e_s‖, divided by `num_items`.

    Source: §3.1 of Norouzi et al. 2023 (arXiv 2206.02999). The formula there squares the norm, its text and the
    reference implementation do not; `hidden_squared` gives the square.

    Args:
        student_logits, teacher_logits (`torch.Tensor` of shape `(B, T, V)`, or packed `(M, V)` in row-major order).
        student_hidden, teacher_hidden (`torch.Tensor` of shape `(B, T, D)` or `(M, D)`): last decoder layer's output.
        is_masked (`torch.BoolTensor` of shape `(B, T)`): True for the M positions masked in the reference.
        temperature (`float`): of the teacher; 0.5 sharpens its labels.
        student_temperature (`float`): of the student.
        hidden_weight (`float`): λ.
        hidden_squared (`bool`): squared distance instead of the distance.
        num_items (`int`, *optional*): masked tokens of the whole update; default M.

    Returns:
        [`Loss`] with parts `kl` and `hidden`, each before its weight: total = kl + hidden_weight · hidden. Nothing
        masked gives exactly 0, with a gradient.
    """
    num_items = is_masked.sum() if num_items is None else num_items
    kl = soft_label_loss(
        select_positions(student_logits, is_masked),
        select_positions(teacher_logits, is_masked),
        temperature=temperature,
        student_temperature=student_temperature,
    )
    distance = hidden_distance(
        select_positions(student_hidden, is_masked),
        select_positions(teacher_hidden, is_masked),
        squared=hidden_squared,
    )
    kl, hidden = divide_by_items(kl.sum(), num_items), divide_by_items(distance.sum(), num_items)
    return Loss(kl + hidden_weight * hidden, {"kl": kl.detach(), "hidden": hidden.detach()})
