# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
Matrix multiplication in fp32 on CPUs that torch leaves half idle.

torch multiplies fp32 on a CPU with MKL, which does not use AVX-512 on processors of other makers than its own: there
oneDNN, which torch has as well, is 1.6 to 2.4 times as fast. bf16 goes to oneDNN everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable


_is_on: ContextVar[bool] = ContextVar("is_multiplying_with_onednn", default=False)

# Multiplications of numbers below which the calls weigh more than the work.
_MIN_WORK = 2**20


def can_multiply_with_onednn() -> bool:
    """Whether this torch has the operator, which is none of its public ones."""
    try:
        _multiply(torch.zeros(2, 3), torch.zeros(3, 2))
    except (AttributeError, RuntimeError):
        return False
    return True


def _multiply(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    # it takes weights (outputs, inputs), of any strides
    return torch.ops.mkldnn._linear_pointwise(a, b.T, bias, "none", [], "")


def multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(M, K) times (K, N): (M, N), without a gradient; equal to `a @ b` but for rounding."""
    return _multiply(a, b) if _is_used(a, b.shape[1]) else a @ b


def add_product(total: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    """Adds (M, K) times (K, N) to `total` (M, N), in its precision; without a gradient."""
    if total.dtype == a.dtype and not _is_used(a, b.shape[1]):
        # in one call: no (M, N) in between
        total.addmm_(a, b)
    else:
        total.add_(multiply(a, b))


def _is_used(rows: torch.Tensor, num_outputs: int) -> bool:
    is_fp32 = rows.dtype == torch.float32 and rows.device.type == "cpu"
    return _is_on.get() and is_fp32 and rows.numel() * num_outputs >= _MIN_WORK


class OneDNNLinear(nn.Linear):
    """`nn.Linear` within [`multiplying_with_onednn`]."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """`input` (…, I) times the weights: (…, O)."""
        if (
            not _is_used(input, self.out_features)
            or torch.is_autocast_enabled("cpu")
            or self.weight.dtype != torch.float32
        ):
            return super().forward(input)
        return _Linear.apply(input, self.weight, self.bias)


class _Linear(torch.autograd.Function):
    """A linear layer whose three multiplications are oneDNN's."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(states, weight)
        return _multiply(states, weight.T, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states, weight = ctx.saved_tensors
        needs_states, needs_weight, needs_bias = ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        for_states = _multiply(rows, weight).view_as(states) if needs_states else None
        for_weight = _multiply(rows.T, states.reshape(len(rows), -1)) if needs_weight else None
        return for_states, for_weight, rows.sum(dim=0) if needs_bias else None


@contextmanager
def multiplying_with_onednn(*models: nn.Module, is_on: bool = True) -> Iterator[None]:
    """
    While the block runs, linear layers of `models` and the losses' vocabulary projections multiply fp32 on a CPU with
    oneDNN; for this thread.

    Args:
        models (`nn.Module`): whose plain `nn.Linear` layers are changed, and changed back at the end.
        is_on (`bool`, *optional*): otherwise nothing is changed.
    """
    layers = {id(layer): layer for model in models for layer in model.modules() if type(layer) is nn.Linear}
    token = _is_on.set(is_on)
    try:
        for layer in layers.values() if is_on else ():
            layer.__class__ = OneDNNLinear
        yield
    finally:
        _is_on.reset(token)
        for layer in layers.values():
            layer.__class__ = nn.Linear
