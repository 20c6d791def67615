# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Targets as losses take them: padded on the right with anything, and refused where they cannot be meant.

Shapes: B batch, N target tokens (no `<s>`, `</s>`), L positions, V vocabulary.
"""

from __future__ import annotations

import torch

from dims_hf.models.ragged import find_real
from dims_hf.objectives.vocabulary import Vocabulary


def check_positions(vocabulary: Vocabulary, lengths: torch.Tensor, name: str) -> None:
    """
    Checks the number of positions of each sentence.

    Args:
        vocabulary ([`Vocabulary`]): of shape (B, L).
        lengths (`torch.LongTensor` of shape `(B,)`): 0 … L.
        name (`str`): of the argument, for the message.

    Raises:
        ValueError: for a shape that does not fit, or a length out of range.
    """
    if len(vocabulary.shape) != 2:
        shape = (*vocabulary.shape, vocabulary.vocab_size)
        raise ValueError(f"log_probs must be of shape (B, L, V), got {shape}. Pass log-probabilities batch first.")
    batch, num_positions = vocabulary.shape
    _check_lengths(lengths, batch, num_positions, name, "log_probs")


def check_targets(
    vocabulary: Vocabulary,
    targets: torch.Tensor,
    target_lengths: torch.Tensor,
    *,
    blank_token_id: int | None = None,
    blank_name: str = "blank_token_id",
) -> torch.Tensor:
    """
    Checks targets.

    Args:
        vocabulary ([`Vocabulary`]): of shape (B, …).
        targets (`torch.LongTensor` of shape `(B, N)`): ids; padding is not looked at.
        target_lengths (`torch.LongTensor` of shape `(B,)`): 0 … N.
        blank_token_id (`int`, *optional*): must be in the vocabulary, and in no target.
        blank_name (`str`): what the argument is called, for the message.

    Returns:
        `torch.BoolTensor` of shape `(B, N)`, True = token.

    Raises:
        ValueError: for shapes that do not fit, ids or lengths out of range, or a target with the blank in it.
    """
    batch, vocab_size = vocabulary.shape[0], vocabulary.vocab_size
    if targets.dim() != 2 or len(targets) != batch:
        raise ValueError(f"targets must be of shape ({batch}, N), got {tuple(targets.shape)}. Pad them on the right.")
    _check_lengths(target_lengths, batch, targets.shape[1], "target_lengths", "targets")
    is_token = find_real(target_lengths, targets.shape[1])
    if bool((((targets < 0) | (targets >= vocab_size)) & is_token).any()):
        raise ValueError(f"targets must be in 0 … {vocab_size - 1}. Leave padding to target_lengths.")
    if blank_token_id is not None:
        if not 0 <= blank_token_id < vocab_size:
            raise ValueError(f"{blank_name} {blank_token_id} is not in the vocabulary of {vocab_size}.")
        if bool(((targets == blank_token_id) & is_token).any()):
            raise ValueError(f"targets hold {blank_name} {blank_token_id}. Remove it: it stands for no token.")
    return is_token


def _check_lengths(lengths: torch.Tensor, batch: int, longest: int, name: str, counted: str) -> None:
    if lengths.shape != (batch,) or lengths.is_floating_point():
        raise ValueError(f"{name} must be integers of shape ({batch},), got {tuple(lengths.shape)}. One per sentence.")
    if bool(((lengths < 0) | (lengths > longest)).any()):
        raise ValueError(f"{name} must be in 0 … {longest}. Count the positions of {counted}.")
