# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The token losses from hidden states and the vocabulary table: fp32 logits exist one chunk of rows at a time.

A loss over alignments may keep the products themselves, in the precision they were computed in.

Shapes: M rows (masked positions), C rows of a chunk, K labels of a row, D hidden, V vocabulary; of alignments B batch,
A frames, T target tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.autograd.function import FunctionCtx, once_differentiable

from dims_hf.models.alignment import find_path_labels
from dims_hf.objectives.cmlmc import Items, combine_cmlmc
from dims_hf.objectives.dims import hidden_distance
from dims_hf.objectives.imputer import add_hidden_distance, mean_ctc_loss
from dims_hf.objectives.reduction import Loss, count_correct, divide_by_items


# Bytes of fp32 logits in one chunk. On a CPU a chunk should stay in the cache, and below the size from which malloc
# asks the system for fresh pages each time; elsewhere, chunks should be few.
_CHUNK_BYTES = {"cpu": 16 * 2**20}
_DEFAULT_CHUNK_BYTES = 256 * 2**20
# Fewer rows would make the sum into the weight's gradient (V, D), once per chunk, cost more than the products.
_MIN_CHUNK_ROWS = 256

# Logits that are needed twice are kept up to this size, and computed again beyond it.
_MAX_KEPT_BYTES = 2**30

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
        return in_fp32(self.multiply(rows))

    def multiply(self, rows: torch.Tensor) -> torch.Tensor:
        """The same in the precision of the product."""
        logits = rows @ self.weight.T
        if self.fixed_logit is not None:
            logits[:, self.fixed_logit[0]] = self.fixed_logit[1]
        return logits


def in_fp32(values: torch.Tensor) -> torch.Tensor:
    """In fp32; fp64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


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
    labels: torch.LongTensor | None = None,
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
        labels (`torch.LongTensor` of shape `(M,)`, *optional*): references, for the accuracy; rows with -100 do not
            count.
        temperature, student_temperature, hidden_weight, hidden_squared, num_items: as [`dims_loss`].

    Returns:
        [`Loss`] with the parts of [`dims_loss`] and, given references, `accuracy`: the share that the student
        predicts.
    """
    if labels is not None:
        has_label = labels != -100
        student_hidden, teacher_hidden, labels = (each[has_label] for each in (student_hidden, teacher_hidden, labels))
    dtype = computing_dtype(student_hidden)
    teacher_rows, teacher = teacher_hidden.detach().to(dtype), teacher.cast(dtype)

    def losses(logits: torch.Tensor, rows: slice, wants_gradient: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        soft_labels = (teacher.project(teacher_rows[rows]) / temperature).log_softmax(dim=-1)
        log_probs = logits.div_(student_temperature).log_softmax(dim=-1)
        num_correct = count_correct(log_probs, labels[rows]) if labels is not None else log_probs.new_zeros(())
        probs = soft_labels.exp()
        kl = torch.linalg.vecdot(probs, soft_labels.sub_(log_probs)).sum()
        gradient = log_probs.exp_().sub_(probs).div_(student_temperature) if wants_gradient else None
        return torch.stack([kl, num_correct.to(kl.dtype)]), gradient

    kl, num_correct = _sum_rows(student_hidden, student, losses)
    num_items = len(student_hidden) if num_items is None else num_items
    distance = hidden_distance(student_hidden, teacher_hidden, squared=hidden_squared)
    kl, hidden = divide_by_items(kl, num_items), divide_by_items(distance.sum(), num_items)
    parts = {"kl": kl.detach(), "hidden": hidden.detach()}
    if labels is not None:
        parts["accuracy"] = divide_by_items(num_correct, num_items)
    return Loss(kl + hidden_weight * hidden, parts)


def projected_imputer_loss(
    hidden_states: torch.Tensor,
    projection: VocabularyProjection,
    targets: torch.LongTensor,
    frame_lengths: torch.LongTensor,
    target_lengths: torch.LongTensor,
    *,
    blank_token_id: int,
    force_emits: torch.LongTensor | None = None,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    [`imputer_loss`] of `projection` applied to hidden states, without fp32 logits of all frames: paths need
    log-probabilities of a target's own tokens and of the blank alone.

    Args:
        hidden_states (`torch.Tensor` of shape `(B, A, D)`): decoder states of all frames; padded ones are not read.
        projection ([`VocabularyProjection`]): to the logits; its weight gets a gradient too.
        targets, frame_lengths, target_lengths, blank_token_id, force_emits, num_items: as [`imputer_loss`].

    Returns:
        [`Loss`] with the parts of [`imputer_loss`].

    Raises:
        ValueError: as [`constrained_ctc_nll`].
    """
    labels = find_path_labels(
        targets, target_lengths, blank_token_id=blank_token_id, vocab_size=projection.weight.shape[0]
    )
    is_frame = torch.arange(hidden_states.shape[1], device=frame_lengths.device) < frame_lengths.unsqueeze(1)
    ids = labels.ids.unsqueeze(1).expand(-1, is_frame.shape[1], -1)[is_frame]
    picked = _LabelLogProbs.apply(hidden_states[is_frame], projection.weight, ids, projection.fixed_logit)
    log_probs = picked.new_zeros(*is_frame.shape, ids.shape[1]).index_put((is_frame,), picked)
    return mean_ctc_loss(
        log_probs,
        labels.targets,
        frame_lengths,
        target_lengths,
        blank_token_id=labels.blank,
        force_emits=force_emits,
        num_items=num_items,
    )


def projected_imputer_dims_loss(
    student_hidden: torch.Tensor,
    projection: VocabularyProjection,
    label_tokens: torch.LongTensor,
    frame_lengths: torch.LongTensor,
    label_lengths: torch.LongTensor,
    teacher_hidden: torch.Tensor,
    is_masked: torch.BoolTensor,
    *,
    blank_token_id: int,
    hidden_weight: float = 0.0,
    hidden_squared: bool = False,
    num_items: tuple[torch.Tensor | int, torch.Tensor | int] | None = None,
) -> Loss:
    """
    [`imputer_dims_loss`] of `projection` applied to the student's hidden states, without their logits.

    Args:
        student_hidden (`torch.Tensor` of shape `(B, A, D)`): last decoder layer's output in all frames.
        projection ([`VocabularyProjection`]): the student's; its weight gets a gradient too.
        teacher_hidden (`torch.Tensor` of shape `(M, D)`): the teacher's at masked frames.
        label_tokens, frame_lengths, label_lengths, is_masked, blank_token_id, hidden_weight, hidden_squared,
            num_items: as [`imputer_dims_loss`].

    Returns:
        [`Loss`] with the parts of [`imputer_dims_loss`].
    """
    num_frames, num_masked = (frame_lengths.sum(), is_masked.sum()) if num_items is None else num_items
    token = projected_imputer_loss(
        student_hidden,
        projection,
        label_tokens,
        frame_lengths,
        label_lengths,
        blank_token_id=blank_token_id,
        num_items=num_frames,
    )
    return add_hidden_distance(
        token,
        student_hidden[is_masked],
        teacher_hidden,
        hidden_weight=hidden_weight,
        hidden_squared=hidden_squared,
        num_items=num_masked,
    )


@torch.no_grad()
def project_labels(
    hidden_states: torch.Tensor,
    projection: VocabularyProjection,
    labels: torch.LongTensor,
    suppressed_ids: list[int] | None = None,
) -> tuple[torch.Tensor, torch.LongTensor | None]:
    """
    Logits of a few ids in each row, and the likeliest id of all, without the logits of the others.

    Args:
        hidden_states (`torch.Tensor` of shape `(M, D)`): decoder states.
        projection ([`VocabularyProjection`]): to the logits.
        labels (`torch.LongTensor` of shape `(M, K)`): ids.
        suppressed_ids (`list[int]`, *optional*): ids that are never the likeliest; without a list, none is looked for.

    Returns:
        `tuple`: logits (M, K) in fp32, and ids (M,) or `None`. No gradient.
    """
    states, table, chunks = _prepare_chunks(hidden_states, projection)
    scores, likeliest = [], []
    with torch.autocast(states.device.type, enabled=False):
        for rows in chunks:
            logits = table.project(states[rows])
            scores.append(logits.gather(1, labels[rows]))
            if suppressed_ids is not None:
                logits[:, suppressed_ids] = -torch.inf
                likeliest.append(logits.argmax(dim=-1))
    return torch.cat(scores), torch.cat(likeliest) if suppressed_ids is not None else None


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
    states, table, chunks = _prepare_chunks(hidden_states, projection)
    sums = torch.zeros(2, dtype=torch.promote_types(states.dtype, torch.float32), device=states.device)
    with torch.autocast(states.device.type, enabled=False):
        gradients = _empty_gradients(states, table) if wants_gradient else None
        for rows in chunks:
            part, gradient = losses(table.project(states[rows]), rows, wants_gradient)
            sums += part
            if gradient is not None:
                _add_gradients(gradients, gradient, rows, states, table)
    return sums, gradients


def _prepare_chunks(
    hidden_states: torch.Tensor, projection: VocabularyProjection
) -> tuple[torch.Tensor, VocabularyProjection, Iterator[slice]]:
    """States and projection in the precision of products, without a gradient, and the rows of each chunk."""
    dtype, num_rows = computing_dtype(hidden_states), hidden_states.shape[0]
    chunks = chunk_rows(num_rows, projection.weight.shape[0], hidden_states.device.type)
    return hidden_states.detach().to(dtype), projection.cast(dtype), chunks


def _empty_gradients(states: torch.Tensor, table: VocabularyProjection) -> tuple[torch.Tensor, torch.Tensor]:
    """Room for the gradients with respect to states (M, D) and weight (V, D), in fp32 (fp64 stays)."""
    precise = torch.promote_types(states.dtype, torch.float32)
    return torch.empty_like(states, dtype=precise), torch.zeros_like(table.weight, dtype=precise)


def _add_gradients(
    gradients: tuple[torch.Tensor, torch.Tensor],
    logits_gradient: torch.Tensor,
    rows: slice,
    states: torch.Tensor,
    table: VocabularyProjection,
) -> None:
    """Adds the share of some rows, given the gradient with respect to their logits (C, V), which is overwritten."""
    if table.fixed_logit is not None:
        logits_gradient[:, table.fixed_logit[0]] = 0
    for_states, for_weight = gradients
    logits_gradient = logits_gradient.to(states.dtype)
    for_states[rows] = logits_gradient @ table.weight
    if states.dtype == for_weight.dtype:
        for_weight.addmm_(logits_gradient.T, states[rows])
    else:
        for_weight.add_(logits_gradient.T @ states[rows])


def computing_dtype(states: torch.Tensor) -> torch.dtype:
    """Precision of matrix products here: autocast's, where it is on."""
    device = states.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype


class _LabelLogProbs(torch.autograd.Function):
    """
    Log-probabilities (M, K) of a few labels in each row. A loss over alignments has its gradient only when all frames
    have been seen: until then logits are kept, once and in the precision of the product, or computed again.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        hidden_states: torch.Tensor,
        weight: torch.Tensor,
        labels: torch.LongTensor,
        fixed_logit: tuple[int, float] | None,
    ) -> torch.Tensor:
        states, table, chunks = _prepare_chunks(hidden_states, VocabularyProjection(weight, fixed_logit))
        precise = torch.promote_types(states.dtype, torch.float32)
        log_probs = torch.empty(labels.shape, dtype=precise, device=states.device)
        normalizers = torch.empty((len(states), 1), dtype=precise, device=states.device)
        keeps = ctx.needs_input_grad[0] and len(states) * len(weight) * states.element_size() <= _MAX_KEPT_BYTES
        kept = []
        with torch.autocast(states.device.type, enabled=False):
            for rows in chunks:
                products = table.multiply(states[rows])
                logits = in_fp32(products)
                normalizers[rows] = logits.logsumexp(dim=-1, keepdim=True)
                log_probs[rows] = logits.gather(1, labels[rows]) - normalizers[rows]
                if keeps:
                    kept.append(products)
        ctx.save_for_backward(hidden_states, weight, labels, normalizers, *kept)
        ctx.dtype, ctx.fixed_logit = states.dtype, fixed_logit
        return log_probs

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden_states, weight, labels, normalizers, *kept = ctx.saved_tensors
        table = VocabularyProjection(weight, ctx.fixed_logit).cast(ctx.dtype)
        states = hidden_states.detach().to(ctx.dtype)
        with torch.autocast(states.device.type, enabled=False):
            gradients = _empty_gradients(states, table)
            for index, rows in enumerate(chunk_rows(len(states), weight.shape[0], states.device.type)):
                products = kept[index] if kept else table.multiply(states[rows])
                probs = in_fp32(products).sub(normalizers[rows]).exp_()
                probs.mul_(-gradient[rows].sum(dim=1, keepdim=True))
                _add_gradients(gradients, probs.scatter_add_(1, labels[rows], gradient[rows]), rows, states, table)
        return gradients[0].to(hidden_states.dtype), gradients[1].to(weight.dtype), None, None


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
