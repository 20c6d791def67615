# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""How far a student's distribution is from its teacher's: `DIVERGENCES`, all in nats but total variation.

Each takes log-probabilities (M, V) of student p and of teacher q and returns (M,); all are 0 for equal distributions
and positive otherwise. Shapes: M rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch


def kl_divergence(student_log_probs: torch.Tensor, teacher_log_probs: torch.Tensor) -> torch.Tensor:
    """KL(q ‖ p) = Σ q (log q − log p): the student has to cover all that the teacher may say (DiMS)."""
    return _relative_entropy(teacher_log_probs, student_log_probs)


def reverse_kl_divergence(student_log_probs: torch.Tensor, teacher_log_probs: torch.Tensor) -> torch.Tensor:
    """KL(p ‖ q) = Σ p (log p − log q): the student may settle for one of the teacher's modes (default of SDTT)."""
    return _relative_entropy(student_log_probs, teacher_log_probs)


def jeffreys_divergence(student_log_probs: torch.Tensor, teacher_log_probs: torch.Tensor) -> torch.Tensor:
    """KL(q ‖ p) + KL(p ‖ q) = Σ (q − p)(log q − log p) (Jeffreys 1946)."""
    return kl_divergence(student_log_probs, teacher_log_probs) + reverse_kl_divergence(
        student_log_probs, teacher_log_probs
    )


def total_variation(student_log_probs: torch.Tensor, teacher_log_probs: torch.Tensor) -> torch.Tensor:
    """½ Σ |q − p|, in [0, 1]."""
    return (teacher_log_probs.exp() - student_log_probs.exp()).abs().sum(dim=-1) / 2


Divergence = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

DIVERGENCES: dict[str, Divergence] = {
    "kl": kl_divergence,
    "reverse_kl": reverse_kl_divergence,
    "jeffreys": jeffreys_divergence,
    "total_variation": total_variation,
}


def find_divergence(name: str) -> Divergence:
    """
    One of `DIVERGENCES`.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in DIVERGENCES:
        raise ValueError(f"divergence must be one of {', '.join(DIVERGENCES)}, got {name!r}.")
    return DIVERGENCES[name]


def _relative_entropy(log_probs: torch.Tensor, other_log_probs: torch.Tensor) -> torch.Tensor:
    """KL of the first to the second distribution."""
    return (log_probs.exp() * (log_probs - other_log_probs)).sum(dim=-1)
