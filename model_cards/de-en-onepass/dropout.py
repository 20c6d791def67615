# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Dropout that draws whole machine words on a CPU, where torch draws one number for each element."""

import torch
from torch import nn


# a random word is cut into numbers of two bytes: p is kept to 1 in 65,536
_NUM_VALUES = 1 << 16


def apply_dropout(states: torch.Tensor, p: float, training: bool) -> torch.Tensor:
    """
    `states` with a share `p` of its elements 0 and the others divided by 1 − p; as it is outside training.

    On a CPU, torch's own takes 30 % of the time of a layer of 256 dimensions; this one draws four elements at once,
    and `p` is rounded to the nearest 65,536th. Elsewhere it is torch's.

    Args:
        states (`torch.Tensor` of any shape): of a floating-point type, which the result keeps.
        p (`float`): share of elements that become 0, from 0 to 1.
        training (`bool`): whether there is any dropout.
    """
    num_dropped = round(p * _NUM_VALUES)
    if not training or states.device.type != "cpu" or not 0 < num_dropped < _NUM_VALUES:
        return nn.functional.dropout(states, p=p, training=training)
    words = torch.empty((states.numel() + 3) // 4, dtype=torch.int64, device=states.device)
    # `random_()` alone leaves the highest bit 0
    values = words.random_(torch.iinfo(torch.int64).min, None).view(torch.int16)[: states.numel()]
    is_kept = values.view(states.shape) >= num_dropped - _NUM_VALUES // 2
    return states * is_kept.to(states.dtype).mul_(_NUM_VALUES / (_NUM_VALUES - num_dropped))
