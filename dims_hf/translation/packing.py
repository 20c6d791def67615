# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Linear layers on a CPU whose weights are put once into the order in which matrix multiplication reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn


if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Rows that the order is chosen for: the tokens of a sentence. Any number may come.
_USUAL_ROWS = 20

_DTYPES = (torch.float32, torch.bfloat16)


class PackedLinear(nn.Linear):
    """
    A linear layer with a second, reordered copy of its weights, which oneDNN multiplies with.

    Parameters and their names stay, so that a state dict does. Where gradients are on, it is the ordinary layer.

    Args:
        linear (`nn.Linear`): the layer, on a CPU, in float32 or bfloat16; its weights may not change afterwards.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.train(linear.training)
        with torch.no_grad():
            self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _USUAL_ROWS)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """`input` (…, I) times the weights: (…, O)."""
        if torch.is_grad_enabled() or input.numel() == 0:
            return super().forward(input)
        return torch.ops.mkldnn._linear_pointwise(input, self._packed, self.bias, "none", [], "")


def pack_weights(model: PreTrainedModel) -> PreTrainedModel:
    """
    Replaces the linear layers of a model by [`PackedLinear`] ones, in place, for decoding alone.

    The result differs in the last digits at most, as it does between batches, and the memory of the layers doubles.
    It pays most where weights are read often and multiplied with few rows, and on processors of other makers than that
    of the library which torch multiplies with (MKL).

    Args:
        model (`PreTrainedModel`): in evaluation mode on a CPU, in float32 or bfloat16.

    Returns:
        `PreTrainedModel`: the same model.

    Raises:
        ValueError: another device or precision, or a torch or a processor that cannot.
    """
    if model.device.type != "cpu" or model.dtype not in _DTYPES:
        raise ValueError(
            f"Weights are packed on CPUs, in float32 or bfloat16; the model is {model.dtype} on {model.device}. Leave "
            "pack_weights (--pack-weights) out."
        )
    _check_processor(model.dtype)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, PackedLinear(child))
    return model


def _check_processor(dtype: torch.dtype) -> None:
    """Refuses what this torch, or this processor, does not multiply with packed weights."""
    try:
        with torch.inference_mode():
            PackedLinear(nn.Linear(16, 16, dtype=dtype))(torch.zeros(1, 16, dtype=dtype))
    except (AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"Weights in {dtype} cannot be packed here: {reason}. Leave pack_weights (--pack-weights) out."
        ) from None


__all__ = ["PackedLinear", "pack_weights"]
