# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What all losses share: the result type, the selection of masked positions and the explicit denominator."""

from typing import NamedTuple

import torch


class Loss(NamedTuple):
    """A loss to differentiate and its parts (detached, each before its weight) to report."""

    total: torch.Tensor
    parts: dict[str, torch.Tensor]


def select_positions(states: torch.Tensor, is_selected: torch.Tensor) -> torch.Tensor:
    """
    Rows of `states` at selected positions; states that are already packed pass through.

    Args:
        states (`torch.Tensor` of shape `(B, T, X)` or `(M, X)`): per position, or packed in row-major order.
        is_selected (`torch.BoolTensor` of shape `(B, T)`): True for the M selected positions.

    Raises:
        ValueError: where packed rows do not number M.
    """
    if states.dim() == is_selected.dim() + 1:
        return states[is_selected]
    if states.shape[0] != int(is_selected.sum()):
        raise ValueError(
            f"Packed input has {states.shape[0]} rows for {int(is_selected.sum())} selected positions. Pack with the "
            "same mask, or pass the full (batch, length, …) tensor."
        )
    return states


def count_correct(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Rows of logits or log-probabilities (M, V) where none exceeds the target's (M,): a maximum is all it costs."""
    logits = logits.detach()
    is_correct = logits.gather(1, targets.unsqueeze(1)) >= logits.amax(dim=-1, keepdim=True)
    return is_correct.sum()


def masked_accuracy(logits: torch.Tensor, targets: torch.Tensor, num_items: torch.Tensor | int) -> torch.Tensor:
    """[`count_correct`], divided by `num_items`; no gradient."""
    return divide_by_items(count_correct(logits, targets).float(), num_items)


def divide_by_items(summed: torch.Tensor, num_items: torch.Tensor | int) -> torch.Tensor:
    """`summed / num_items`, and 0 with a gradient where there is no item at all."""
    if isinstance(num_items, torch.Tensor):
        num_items = num_items.to(summed.device).clamp(min=1)
    else:
        num_items = max(num_items, 1)
    return summed / num_items
