# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Right-padded batches of sequences of different lengths: which positions are real, and checks of lengths and ids."""

from typing import cast

import torch


def find_real(lengths: torch.Tensor, width: int) -> torch.Tensor:
    """
    Which positions are real.

    Args:
        lengths (`torch.LongTensor` of shape `(B,)`): real positions of each row.
        width (`int`): L, padded length.

    Returns:
        `torch.BoolTensor` of shape `(B, L)`, True = real.
    """
    return torch.arange(width, device=lengths.device) < lengths.unsqueeze(1)


def find_width(lengths: torch.Tensor) -> int:
    """The longest of `lengths` (B,), at least 1, as the padded length of a batch; in exported code, too."""
    width = cast(int, lengths.max().clamp(min=1).item())
    # who traces this has no value to see it by
    torch._check(width > 0)
    return width


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """The floating type to add log-probabilities of `dtype` in: the same, in single precision or better."""
    return torch.promote_types(dtype, torch.float32)


def in_fp32(values: torch.Tensor) -> torch.Tensor:
    """In fp32; fp64 stays."""
    return values.to(working_dtype(values.dtype))


def check_lengths_shape(name: str, lengths: torch.Tensor, batch: int) -> None:
    """Raises `ValueError` unless the argument `name` holds one length per sentence."""
    if lengths.shape != (batch,):
        raise ValueError(f"{name} must be of shape ({batch},), got {tuple(lengths.shape)}. Give one per sentence.")


def check_log_probs(name: str, log_probs: torch.Tensor, shape: str) -> None:
    """Raises `ValueError` unless the argument `name` is floating point and has as many dimensions as `shape` names."""
    if log_probs.dim() != shape.count(",") + 1 or not log_probs.is_floating_point():
        raise ValueError(
            f"{name} must be floating point of shape {shape}, got {log_probs.dtype} {tuple(log_probs.shape)}. "
            "Pass log-probabilities batch first."
        )


def find_wrong_lengths(lengths: torch.Tensor, highest: int) -> torch.Tensor:
    """(B,): True where a length is not in 0 … `highest`."""
    return (lengths < 0) | (lengths > highest)


def refuse(wrong: dict[str, torch.Tensor]) -> None:
    """
    Raises a `ValueError` with the first message that is true somewhere.

    Args:
        wrong (`dict[str, torch.BoolTensor]`): message to where it is true, of any shapes.
    """
    # one transfer from the device for all of them
    for message, is_found in zip(wrong, torch.stack([found.any() for found in wrong.values()]).tolist()):
        if is_found:
            raise ValueError(message)
