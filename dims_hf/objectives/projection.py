# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Hidden states times a vocabulary table, chunk by chunk: fp32 logits exist for one chunk of rows at a time.

[`ProjectedVocabulary`] is what losses use; here are the table, the chunks and the derivatives. A loss over alignments
may keep the logits themselves, in the precision they were computed in.

Shapes: M rows (positions), C rows of a chunk, K ids of a row, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from dims_hf.models.modeling_translation import NATForConditionalGeneration
from dims_hf.models.ragged import in_fp32, working_dtype
from dims_hf.objectives.fusion import fusible, fusing, is_fusing
from dims_hf.objectives.multiplication import add_product, multiply


# Bytes of fp32 logits in one chunk. On a CPU a chunk should stay in the cache, and below the size from which malloc
# asks the system for fresh pages each time; elsewhere, chunks should be few.
_CHUNK_BYTES = {"cpu": 16 * 2**20}
_DEFAULT_CHUNK_BYTES = 256 * 2**20
# Fewer rows would make the sum into the weight's gradient (V, D), once per chunk, cost more than the multiplications.
_MIN_CHUNK_ROWS = 256

# Logits that are needed twice are kept up to this size, and computed again beyond it.
_MAX_KEPT_BYTES = 2**30

# Logits of a chunk (C, V) in the precision of the multiplication, its rows, and whether a gradient is wanted -> sums
# over the rows, the loss first, and the gradient of the loss's sum with respect to the logits, in fp32.
SumsAndGradient = tuple[torch.Tensor, torch.Tensor | None]
RowLosses = Callable[[torch.Tensor, slice, bool], SumsAndGradient]


@dataclass(frozen=True)
class VocabularyProjection:
    """
    The last layer of a model, to be applied chunk by chunk.

    Args:
        weight (`torch.Tensor` of shape `(V, D)`): table tied to the embedding.
        fixed_logit (`tuple[int, float]`, *optional*): id whose logit has a constant value (imported checkpoints).
        bias (`torch.Tensor` of shape `(V,)`, *optional*): added to the logits.
    """

    weight: torch.Tensor
    fixed_logit: tuple[int, float] | None = None
    bias: torch.Tensor | None = None

    @classmethod
    def of(cls, model: NATForConditionalGeneration) -> VocabularyProjection:
        """That of a translation model of this package, unwrapped."""
        value = model.config.legacy_mask_logit
        fixed_logit = None if value is None else (model.config.mask_token_id, value)
        return cls(model.lm_head.weight, fixed_logit, model.lm_head.bias)

    @property
    def requires_grad(self) -> bool:
        """Whether weight or bias is to be trained."""
        return self.weight.requires_grad or (self.bias is not None and self.bias.requires_grad)

    def cast(self, dtype: torch.dtype) -> VocabularyProjection:
        """The same in another precision, without a gradient."""
        bias = None if self.bias is None else self.bias.detach().to(dtype)
        return VocabularyProjection(self.weight.detach().to(dtype), self.fixed_logit, bias)

    def project(self, rows: torch.Tensor) -> torch.Tensor:
        """Logits (C, V) of hidden states (C, D), in fp32 (fp64 stays)."""
        return in_fp32(self.multiply(rows))

    def multiply(self, rows: torch.Tensor) -> torch.Tensor:
        """The same in the precision of the matrix multiplication."""
        logits = multiply(rows, self.weight.T)
        if self.bias is not None:
            logits = logits + self.bias
        if self.fixed_logit is not None:
            logits[:, self.fixed_logit[0]] = self.fixed_logit[1]
        return logits


def chunk_rows(num_rows: int, vocab_size: int, device_type: str) -> Iterator[slice]:
    """The rows of each chunk; at least one chunk, which may be empty."""
    # 4 bytes: chunks are in fp32 whatever the multiplication is in
    size = max(_CHUNK_BYTES.get(device_type, _DEFAULT_CHUNK_BYTES) // (4 * vocab_size), _MIN_CHUNK_ROWS)
    # one empty chunk where there are no rows, so that sums and gradients have their shapes
    return (slice(start, start + size) for start in range(0, max(num_rows, 1), size))


def computing_dtype(states: torch.Tensor) -> torch.dtype:
    """Precision of matrix multiplications here: autocast's, where it is on."""
    device = states.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype


def prepare_chunks(
    hidden_states: torch.Tensor, projection: VocabularyProjection
) -> tuple[torch.Tensor, VocabularyProjection, Iterator[slice]]:
    """States and projection in the precision of the multiplication, without a gradient, and the rows of each chunk."""
    dtype, num_rows = computing_dtype(hidden_states), hidden_states.shape[0]
    chunks = chunk_rows(num_rows, projection.weight.shape[0], hidden_states.device.type)
    return hidden_states.detach().to(dtype), projection.cast(dtype), chunks


def sum_rows(
    hidden_states: torch.Tensor, projection: VocabularyProjection, losses: RowLosses
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of both outputs of `losses` over all rows; the first has a gradient to hidden states, weight and bias."""
    wants_gradient = torch.is_grad_enabled() and (hidden_states.requires_grad or projection.requires_grad)
    sums, gradients = _accumulate_chunks(hidden_states, projection, losses, wants_gradient)
    if gradients is None:
        return sums[0], sums[1]
    # the gradients are known already: the backward pass only scales them
    return _AttachGradients.apply(sums[0], hidden_states, projection.weight, projection.bias, *gradients), sums[1]


@torch.no_grad()
def _accumulate_chunks(
    hidden_states: torch.Tensor, projection: VocabularyProjection, losses: RowLosses, wants_gradient: bool
) -> tuple[torch.Tensor, Gradients | None]:
    """
    Sums of `losses`, and the gradients of the first with respect to hidden states, weight and bias, as long as the
    logits are at hand: one matrix multiplication less than with a recomputation in the backward pass.
    """
    states, table, chunks = prepare_chunks(hidden_states, projection)
    sums = torch.zeros(2, dtype=working_dtype(states.dtype), device=states.device)
    # the precision was chosen by `prepare_chunks`; autocast would choose again
    with torch.autocast(states.device.type, enabled=False):
        gradients = _empty_gradients(states, table) if wants_gradient else None
        for rows in chunks:
            part, gradient = losses(table.multiply(states[rows]), rows, wants_gradient)
            sums += part
            if gradients is not None and gradient is not None:
                _add_gradients(gradients, gradient, rows, states, table)
    return sums, gradients


# With respect to states (M, D), weight (V, D) and bias (V,), if there is one.
Gradients = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]


def _empty_gradients(states: torch.Tensor, table: VocabularyProjection) -> Gradients:
    """Room for the gradients, in fp32 (fp64 stays)."""
    precise = working_dtype(states.dtype)
    for_bias = None if table.bias is None else torch.zeros_like(table.bias, dtype=precise)
    # states are written once each, weight and bias are sums over all chunks
    return torch.empty_like(states, dtype=precise), torch.zeros_like(table.weight, dtype=precise), for_bias


def _add_gradients(
    gradients: Gradients, logits_gradient: torch.Tensor, rows: slice, states: torch.Tensor, table: VocabularyProjection
) -> None:
    """Adds the share of some rows, given the gradient with respect to their logits (C, V), which is overwritten."""
    if table.fixed_logit is not None:
        # a constant has no gradient
        logits_gradient[:, table.fixed_logit[0]] = 0
    for_states, for_weight, for_bias = gradients
    if for_bias is not None:
        for_bias.add_(logits_gradient.sum(dim=0))
    logits_gradient = logits_gradient.to(states.dtype)
    for_states[rows] = multiply(logits_gradient, table.weight)
    add_product(for_weight, logits_gradient.T, states[rows])


class PickedLogProbs(torch.autograd.Function):
    """
    Log-probabilities (M, K) of a few ids in each row and, as one more column, their mean over the vocabulary.

    The gradient of a loss over alignments, assignments or n-grams is known only when all rows have been seen: until
    then logits are kept, once and in the precision of the multiplication, or computed again.
    """

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        hidden_states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        ids: torch.Tensor,
        fixed_logit: tuple[int, float] | None,
        has_mean: bool,
    ) -> torch.Tensor:
        states, table, chunks = prepare_chunks(hidden_states, VocabularyProjection(weight, fixed_logit, bias))
        precise = working_dtype(states.dtype)
        log_probs = torch.empty((len(ids), ids.shape[1] + has_mean), dtype=precise, device=states.device)
        normalizers = torch.empty((len(states), 1), dtype=precise, device=states.device)
        # kept in the multiplication's precision, which may be half of fp32
        keeps = any(ctx.needs_input_grad) and len(states) * len(weight) * states.element_size() <= _MAX_KEPT_BYTES
        kept = []
        with torch.autocast(states.device.type, enabled=False):
            for rows in chunks:
                products = table.multiply(states[rows])
                log_probs[rows], normalizers[rows] = _pick_rows(products, ids[rows], has_mean)
                if keeps:
                    kept.append(products)
        ctx.save_for_backward(hidden_states, weight, bias, ids, normalizers, *kept)
        ctx.dtype, ctx.fixed_logit, ctx.is_fusing = states.dtype, fixed_logit, is_fusing()
        return log_probs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: D102
        hidden_states, weight, bias, ids, normalizers, *kept = ctx.saved_tensors
        table = VocabularyProjection(weight, ctx.fixed_logit, bias).cast(ctx.dtype)
        states = hidden_states.detach().to(ctx.dtype)
        # on a GPU the backward pass has a thread of its own
        with torch.autocast(states.device.type, enabled=False), fusing(ctx.is_fusing):
            gradients = _empty_gradients(states, table)
            for index, rows in enumerate(chunk_rows(len(states), len(weight), states.device.type)):
                products = kept[index] if kept else table.multiply(states[rows])
                for_logits = _differentiate_picks(products, normalizers[rows], ids[rows], gradient[rows])
                _add_gradients(gradients, for_logits, rows, states, table)
        dtypes = hidden_states.dtype, weight.dtype, None if bias is None else bias.dtype
        return *_cast(gradients, dtypes), None, None, None


@fusible
def _pick_rows(products: torch.Tensor, ids: torch.Tensor, has_mean: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities (C, K) of ids, with `has_mean` also their mean over the vocabulary, and normalizers (C, 1)."""
    logits = in_fp32(products)
    normalizers = logits.logsumexp(dim=-1, keepdim=True)
    picked = logits.gather(1, ids)
    if has_mean:
        picked = torch.cat([picked, logits.mean(dim=-1, keepdim=True)], dim=1)
    return picked - normalizers, normalizers


@fusible
def _differentiate_picks(
    products: torch.Tensor, normalizers: torch.Tensor, ids: torch.Tensor, gradient: torch.Tensor
) -> torch.Tensor:
    """Gradient with respect to logits (C, V), given that with respect to what [`_pick_rows`] picked (C, K [+ 1])."""
    # d log p(v) / d logits = one-hot(v) − p, whatever the number of picked ids
    for_logits = (in_fp32(products) - normalizers).exp_().mul_(-gradient.sum(dim=1, keepdim=True))
    num_ids = ids.shape[1]
    if gradient.shape[1] > num_ids:
        for_logits.add_(gradient[:, num_ids:] / products.shape[1])
    return for_logits.scatter_add_(1, ids, gradient[:, :num_ids])


class _AttachGradients(torch.autograd.Function):
    """A number as a function of states, weight and bias, its gradients with respect to them known already."""

    @staticmethod
    def forward(
        ctx: Any,
        value: torch.Tensor,
        hidden_states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        *gradients: torch.Tensor | None,
    ) -> torch.Tensor:
        ctx.dtypes = hidden_states.dtype, weight.dtype, None if bias is None else bias.dtype
        ctx.save_for_backward(*gradients)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        # Scaled here, in fp32: scaled by a small factor earlier, gradients would vanish in half precision.
        scaled = tuple(None if each is None else each.mul(gradient) for each in ctx.saved_tensors)
        return None, *_cast(scaled, ctx.dtypes), None, None, None


def _cast(
    gradients: tuple[torch.Tensor | None, ...], dtypes: tuple[torch.dtype | None, ...]
) -> list[torch.Tensor | None]:
    return [None if each is None else each.to(dtype) for each, dtype in zip(gradients, dtypes, strict=True)]
