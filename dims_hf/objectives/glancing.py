# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""How many tokens of the target a glancing model is shown."""

from __future__ import annotations

from fractions import Fraction
from typing import overload

import torch


# Products with numerators up to this stay whole in int64, whatever a sentence's length.
_LARGEST_FACTOR = 10**9


@overload
def count_glances(num_wrong: int, ratio: float) -> int: ...


@overload
def count_glances(num_wrong: torch.Tensor, ratio: float) -> torch.Tensor: ...


def count_glances(num_wrong: int | torch.Tensor, ratio: float) -> int | torch.Tensor:
    """
    ⌊ratio · num_wrong⌋ tokens to reveal, exact in the decimal that the ratio is written as: 0.7 of 90 are 63, where
    binary floating point gives 62.

    Source: Qian et al. 2021 (GLAT, arXiv 2008.07905), Eq. 4: the ratio falls from 0.5 to 0.3 in training.

    Args:
        num_wrong (`int` or integer `torch.Tensor` of any shape): positions that the model's own prediction misses.
        ratio (`float`): in [0, 1].

    Returns:
        As `num_wrong`: an `int`, or a tensor of the same shape and type.

    Raises:
        ValueError: for a ratio outside [0, 1], or a count that is negative or not whole.
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio must be in [0, 1], got {ratio}. It is the share of wrong tokens to reveal.")
    factor = Fraction(str(ratio))
    if not isinstance(num_wrong, torch.Tensor):
        if num_wrong != int(num_wrong) or num_wrong < 0:
            raise ValueError(f"num_wrong must be a whole number >= 0, got {num_wrong}. It counts tokens.")
        return int(num_wrong) * factor.numerator // factor.denominator
    if num_wrong.is_floating_point() or num_wrong.is_complex() or bool((num_wrong < 0).any()):
        raise ValueError("num_wrong must be whole numbers >= 0. It counts tokens.")
    if factor.denominator <= _LARGEST_FACTOR:
        glances = num_wrong.long() * factor.numerator // factor.denominator
    else:  # a ratio between two steps of a schedule: 17 decimals
        values = [count * factor.numerator // factor.denominator for count in num_wrong.flatten().tolist()]
        glances = torch.tensor(values, dtype=torch.long, device=num_wrong.device).view(num_wrong.shape)
    return glances.to(num_wrong.dtype)
