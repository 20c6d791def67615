# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The token losses from hidden states and the vocabulary table: logits exist one chunk of rows at a time.

Shapes: M rows (masked positions), C rows of a chunk, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.autograd.function import FunctionCtx, once_differentiable

from dims_hf.objectives.cmlmc import Items, combine_cmlmc
from dims_hf.objectives.dims import hidden_distance
from dims_hf.objectives.reduction import Loss, count_correct, divide_by_items


# Bytes of fp32 logits in one chunk. On a CPU a chunk should stay in the cache, and below the size from which malloc
# asks the system for fresh pages each time; elsewhere, chunks should be few.
_CHUNK_BYTES = {"cpu": 16 * 2**20}
_DEFAULT_CHUNK_BYTES = 256 * 2**20
# Fewer rows would make the sum into the weight's gradient (V, D), once per chunk, cost more than the products.
_MIN_CHUNK_ROWS = 256

# Logits of a chunk (C, V) in fp32, which it may overwrite, its rows, and whether a gradient is wanted -> sums over the
# rows, the loss first, and the gradient of the loss's sum with respect to the logits.
RowLosses = Callable[[torch.Tensor, slice, bool], tuple[torch.Tensor, torch.Tensor | None]]


@dataclass(frozen=True)
class VocabularyProjection:
    """
    The last layer of a model, to be applied chunk by chunk.

    Args:
        weight (`torch.Tensor` of shape `(V, D)`): table tied to the embedding.
        fixed_logit (`tuple[int, float]`, *optional*): id whose logit has a constant value (imported checkpoints).
    """

    weight: torch.Tensor
    fixed_logit: tuple[int, float] | None = None

    @classmethod
    def of(cls, model: torch.nn.Module) -> VocabularyProjection:
        """That of a translation model of this package, unwrapped."""
        value = model.config.legacy_mask_logit
        return cls(model.lm_head.weight, None if value is None else (model.config.mask_token_id, value))

    def cast(self, dtype: torch.dtype) -> VocabularyProjection:
        """The same in another precision, without a gradient."""
        return VocabularyProjection(self.weight.detach().to(dtype), self.fixed_logit)

    def project(self, rows: torch.Tensor) -> torch.Tensor:
        """Logits (C, V) of hidden states (C, D), in fp32 (fp64 stays)."""
        logits = rows @ self.weight.T
        if self.fixed_logit is not None:
            logits[:, self.fixed_logit[0]] = self.fixed_logit[1]
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


def chunk_rows(num_rows: int, vocab_size: int, device_type: str) -> Iterator[slice]:
    """The rows of each chunk; at least one chunk, which may be empty."""
    size = max(_CHUNK_BYTES.get(device_type, _DEFAULT_CHUNK_BYTES) // (4 * vocab_size), _MIN_CHUNK_ROWS)
    return (slice(start, start + size) for start in range(0, max(num_rows, 1), size))


def projected_cmlm_loss(
    hidden_states: torch.Tensor,
    projection: VocabularyProjection,
    labels: torch.LongTensor,
    *,
    label_smoothing: float = 0.1,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    [`cmlm_loss`] of `projection` applied to hidden states, without their logits.

    Args:
        hidden_states (`torch.Tensor` of shape `(M, D)`): decoder states at masked positions.
        projection ([`VocabularyProjection`]): to the logits; its weight gets a gradient too.
        labels (`torch.LongTensor` of shape `(M,)`): target ids, -100 where no loss is wanted.
        label_smoothing, num_items: as [`cmlm_loss`].

    Returns:
        [`Loss`] with the parts of [`cmlm_loss`]; of equal maxima each counts as predicted.
    """
    summed, num_correct, count = _summed_cross_entropy(hidden_states, projection, labels, label_smoothing)
    num_items = count if num_items is None else num_items
    total = divide_by_items(summed, num_items)
    return Loss(total, {"token": total.detach(), "accuracy": divide_by_items(num_correct, num_items)})


def projected_cmlmc_loss(
    masked_states: torch.Tensor,
    corrected_states: torch.Tensor,
    projection: VocabularyProjection,
    masked_labels: torch.LongTensor,
    corrected_labels: torch.LongTensor,
    *,
    label_smoothing: float = 0.1,
    reduction: str = "joint",
    num_items: Items | None = None,
) -> Loss:
    """
    [`cmlmc_loss`] of `projection` applied to hidden states, without their logits.

    Args:
        masked_states (`torch.Tensor` of shape `(M, D)`): states at masked positions.
        corrected_states (`torch.Tensor` of shape `(R, D)`): states at replaced positions, of their own pass.
        projection ([`VocabularyProjection`]): to the logits; its weight gets a gradient too.
        masked_labels, corrected_labels (`torch.LongTensor` of shape `(M,)` and `(R,)`): target ids, or -100.
        label_smoothing, reduction, num_items: as [`cmlmc_loss`].

    Returns:
        [`Loss`] with the parts of [`cmlmc_loss`].

    Raises:
        ValueError: for an unknown reduction.
    """
    masked, num_correct, num_masked = _summed_cross_entropy(masked_states, projection, masked_labels, label_smoothing)
    corrected, _, num_replaced = _summed_cross_entropy(corrected_states, projection, corrected_labels, label_smoothing)
    num_items = (num_masked, num_replaced) if num_items is None else num_items
    return combine_cmlmc((masked, corrected), num_correct, num_items, reduction)


def projected_dims_loss(
    student_hidden: torch.Tensor,
    student: VocabularyProjection,
    teacher_hidden: torch.Tensor,
    teacher: VocabularyProjection,
    labels: torch.LongTensor,
    *,
    temperature: float = 0.5,
    student_temperature: float = 1.0,
    hidden_weight: float = 0.7,
    hidden_squared: bool = False,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    [`dims_loss`] of student and teacher given by their hidden states, without the logits of either.

    Args:
        student_hidden, teacher_hidden (`torch.Tensor` of shape `(M, D)`): last decoder layer's output at masked
            positions; the teacher's where each label was taken.
        student, teacher ([`VocabularyProjection`]): to the logits; the student's weight gets a gradient too.
        labels (`torch.LongTensor` of shape `(M,)`): references, for the accuracy; rows with -100 do not count.
        temperature, student_temperature, hidden_weight, hidden_squared, num_items: as [`dims_loss`].

    Returns:
        [`Loss`] with the parts of [`dims_loss`] and `accuracy`, the student's share of references predicted.
    """
    has_label = labels != -100
    student_hidden, teacher_hidden, labels = student_hidden[has_label], teacher_hidden[has_label], labels[has_label]
    dtype = computing_dtype(student_hidden)
    teacher_rows, teacher = teacher_hidden.detach().to(dtype), teacher.cast(dtype)

    def losses(logits: torch.Tensor, rows: slice, wants_gradient: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        soft_labels = (teacher.project(teacher_rows[rows]) / temperature).log_softmax(dim=-1)
        log_probs = logits.div_(student_temperature).log_softmax(dim=-1)
        num_correct = count_correct(log_probs, labels[rows])
        probs = soft_labels.exp()
        kl = torch.linalg.vecdot(probs, soft_labels.sub_(log_probs)).sum()
        gradient = log_probs.exp_().sub_(probs).div_(student_temperature) if wants_gradient else None
        return torch.stack([kl, num_correct.to(kl.dtype)]), gradient

    kl, num_correct = _sum_rows(student_hidden, student, losses)
    num_items = labels.numel() if num_items is None else num_items
    distance = hidden_distance(student_hidden, teacher_hidden, squared=hidden_squared)
    kl, hidden = divide_by_items(kl, num_items), divide_by_items(distance.sum(), num_items)
    parts = {"kl": kl.detach(), "hidden": hidden.detach(), "accuracy": divide_by_items(num_correct, num_items)}
    return Loss(kl + hidden_weight * hidden, parts)


def _summed_cross_entropy(
    hidden_states: torch.Tensor, projection: VocabularyProjection, labels: torch.LongTensor, label_smoothing: float
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Sum over labelled rows of the cross-entropy, how many of them are predicted, and their number."""
    has_label = labels != -100
    targets = labels[has_label]

    def losses(logits: torch.Tensor, rows: slice, wants_gradient: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        log_probs = logits.log_softmax(dim=-1)
        column = targets[rows].unsqueeze(1)
        summed = (label_smoothing - 1) * log_probs.gather(1, column).sum()
        if label_smoothing:
            summed = summed - label_smoothing * log_probs.mean(dim=-1).sum()
        num_correct = count_correct(log_probs, targets[rows])
        gradient = None
        if wants_gradient:
            gradient = log_probs.exp_()
            if label_smoothing:
                gradient.sub_(label_smoothing / logits.shape[-1])
            gradient.scatter_add_(1, column, gradient.new_full(column.shape, label_smoothing - 1))
        return torch.stack([summed, num_correct.to(summed.dtype)]), gradient

    summed, num_correct = _sum_rows(hidden_states[has_label], projection, losses)
    return summed, num_correct, targets.numel()


def _sum_rows(
    hidden_states: torch.Tensor, projection: VocabularyProjection, losses: RowLosses
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of both outputs of `losses` over all rows; the first has a gradient to hidden states and weight."""
    weight = projection.weight
    wants_gradient = torch.is_grad_enabled() and (hidden_states.requires_grad or weight.requires_grad)
    sums, gradients = _accumulate_chunks(hidden_states, projection, losses, wants_gradient)
    if not wants_gradient:
        return sums[0], sums[1]
    return _AttachGradients.apply(sums[0], hidden_states, weight, *gradients), sums[1]


@torch.no_grad()
def _accumulate_chunks(
    hidden_states: torch.Tensor, projection: VocabularyProjection, losses: RowLosses, wants_gradient: bool
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
    """
    Sums of `losses`, and the gradients of the first with respect to hidden states and weight, as long as the logits
    are at hand: one product less than with a recomputation in the backward pass.
    """
    weight, dtype = projection.weight, computing_dtype(hidden_states)
    states, table = hidden_states.detach().to(dtype), projection.cast(dtype)
    precise = torch.promote_types(dtype, torch.float32)
    sums = torch.zeros(2, dtype=precise, device=states.device)
    with torch.autocast(states.device.type, enabled=False):
        gradients = None
        if wants_gradient:
            gradients = torch.empty_like(states, dtype=precise), torch.zeros_like(weight, dtype=precise)
        for rows in chunk_rows(states.shape[0], weight.shape[0], states.device.type):
            part, gradient = losses(table.project(states[rows]), rows, wants_gradient)
            sums += part
            if gradient is None:
                continue
            if projection.fixed_logit is not None:
                gradient[:, projection.fixed_logit[0]] = 0
            gradient = gradient.to(dtype)
            gradients[0][rows] = gradient @ table.weight
            if dtype == precise:
                gradients[1].addmm_(gradient.T, states[rows])
            else:
                gradients[1].add_(gradient.T @ states[rows])
    return sums, gradients


def computing_dtype(states: torch.Tensor) -> torch.dtype:
    """Precision of matrix products here: autocast's, where it is on."""
    device = states.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype


class _AttachGradients(torch.autograd.Function):
    """A number as a function of two tensors, its gradients with respect to them known already."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        value: torch.Tensor,
        hidden_states: torch.Tensor,
        weight: torch.Tensor,
        hidden_gradient: torch.Tensor,
        weight_gradient: torch.Tensor,
    ) -> torch.Tensor:
        ctx.dtypes = hidden_states.dtype, weight.dtype
        ctx.save_for_backward(hidden_gradient, weight_gradient)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        # Scaled here, in fp32: scaled by a small factor earlier, gradients would vanish in half precision.
        scaled = (each.mul(gradient).to(dtype) for each, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True))
        return None, *scaled, None, None
