# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The DiMS objective: match the teacher's soft labels and last hidden states at masked positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import torch

from dims_hf.models.ragged import in_fp32
from dims_hf.objectives.divergences import kl_divergence
from dims_hf.objectives.reduction import Loss, divide_by_items, select_positions
from dims_hf.objectives.vocabulary import Vocabulary, as_vocabulary


if TYPE_CHECKING:
    from typing_extensions import Unpack

HIDDEN_NORMALIZATIONS = ("none", "dimension")


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
    teacher_log_probs = (in_fp32(teacher_logits.detach()) / temperature).log_softmax(dim=-1)
    return kl_divergence((in_fp32(student_logits) / student_temperature).log_softmax(dim=-1), teacher_log_probs)


def hidden_distance(
    student_hidden: torch.Tensor, teacher_hidden: torch.Tensor, *, squared: bool, normalization: str = "none"
) -> torch.Tensor:
    """
    Euclidean distance (or its square) between rows of (M, D), in fp32: (M,). Equal rows have gradient 0.

    With `normalization="dimension"` it is the root of the *mean* square over the D dimensions (squared: the mean
    square), which does not grow with the width of the model: the distance divided by √D (D).

    Raises:
        ValueError: for an unknown normalisation.
    """
    if normalization not in HIDDEN_NORMALIZATIONS:
        names = ", ".join(HIDDEN_NORMALIZATIONS)
        raise ValueError(f"hidden_normalization must be one of {names}, got {normalization!r}.")
    difference = student_hidden.float() - teacher_hidden.detach().float()
    if squared:
        distance = difference.square().sum(dim=-1)
    else:
        # its gradient at 0 is 0, where that of a square root would be NaN
        distance = torch.linalg.vector_norm(difference, dim=-1)
    if normalization == "none":
        return distance
    width = difference.shape[-1]
    return distance / (width if squared else width**0.5)


class LossVariant(TypedDict, total=False):
    """
    What [`dims_loss`] takes beside the arguments of the paper.

    Attributes:
        divergence (`str`): one of `DIVERGENCES`; `kl` when left out.
        hidden_normalization (`str`): `none`, or `dimension` (see [`hidden_distance`]); `none` when left out.
    """

    divergence: str
    hidden_normalization: str


def _read_variant(divergence: str = "kl", hidden_normalization: str = "none") -> tuple[str, str]:
    return divergence, hidden_normalization


def dims_loss(
    student_logits: torch.Tensor | Vocabulary,
    teacher_logits: torch.Tensor | Vocabulary,
    student_hidden: torch.Tensor,
    teacher_hidden: torch.Tensor,
    is_masked: torch.Tensor,
    *,
    temperature: float = 0.5,
    student_temperature: float = 1.0,
    hidden_weight: float = 0.7,
    hidden_squared: bool = False,
    labels: torch.Tensor | None = None,
    num_items: torch.Tensor | int | None = None,
    **variant: Unpack[LossVariant],
) -> Loss:
    """
    Sum over masked tokens of KL(teacher ‖ student) + λ ‖e_t − e_s‖, divided by `num_items`.

    Source: §3.1 of Norouzi et al. 2023 (arXiv 2206.02999). The formula there squares the norm, its text and the
    reference implementation do not; `hidden_squared` gives the square. Divergences other than KL and the normalised
    distance are not in the paper; the distance grows with √D, KL does not.

    Args:
        student_logits, teacher_logits (`torch.Tensor` of shape `(B, T, V)`, or packed `(M, V)` in row-major order, or
            [`Vocabulary`]): the teacher receives no gradient.
        student_hidden, teacher_hidden (`torch.Tensor` of shape `(B, T, D)` or `(M, D)`): last decoder layer's output;
            the teacher's where each label was taken.
        is_masked (`torch.BoolTensor` of shape `(B, T)`): True for the M positions masked in the reference.
        temperature (`float`): of the teacher; 0.5 sharpens its labels.
        student_temperature (`float`): of the student.
        hidden_weight (`float`): λ.
        hidden_squared (`bool`): squared distance instead of the distance.
        labels (`torch.LongTensor` of shape `(B, T)`, *optional*): references, for the accuracy. A masked position
            whose label is -100 does not count at all.
        num_items (`int`, *optional*): masked tokens of the whole update; default those of this batch that count.
        variant ([`LossVariant`]): `divergence` and `hidden_normalization`.

    Returns:
        [`Loss`] with parts `kl` (named after the divergence) and `hidden`, each before its weight: total = kl +
        hidden_weight · hidden; and, given references, `accuracy`: the share that the student predicts. Nothing masked
        gives exactly 0, with a gradient.

    Raises:
        ValueError: for an unknown divergence or normalisation, or packed rows that do not number the masked positions.
    """
    divergence, normalization = _read_variant(**variant)
    student = as_vocabulary(student_logits).select(is_masked)
    teacher = as_vocabulary(teacher_logits).select(is_masked)
    hidden = [select_positions(states, is_masked) for states in (student_hidden, teacher_hidden)]
    if labels is not None:
        labels = labels[is_masked]
        # as `divergence` leaves rows without a label out
        hidden = [states[labels != -100] for states in hidden]
    temperatures = {"temperature": temperature, "student_temperature": student_temperature}
    sums = student.divergence(teacher, divergence, **temperatures, labels=labels)
    distance = hidden_distance(*hidden, squared=hidden_squared, normalization=normalization)
    num_items = sums.num_items if num_items is None else num_items
    token, apart = divide_by_items(sums.summed, num_items), divide_by_items(distance.sum(), num_items)
    parts = {divergence: token.detach(), "hidden": apart.detach()}
    if labels is not None:
        parts["accuracy"] = divide_by_items(sums.num_correct, num_items)
    return Loss(token + hidden_weight * apart, parts)
