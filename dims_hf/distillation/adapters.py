# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Models with a peft adapter (LoRA): the network inside the wrapper, and which adapters can be trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn


if TYPE_CHECKING:
    from dims_hf.models.modeling_translation import NATForConditionalGeneration


def network_of(model: nn.Module) -> nn.Module:
    """
    The translation model itself, with the adapter's layers in it, of one that peft may have wrapped.

    Args:
        model (`torch.nn.Module`): not wrapped by anything else; one without an adapter comes back as it is.
    """
    wrapped: Any = model  # in a class of peft, which need not be installed
    return wrapped.get_base_model() if hasattr(model, "get_base_model") else model


def is_adapted(model: object) -> bool:
    """Whether a model has an adapter, in whatever way."""
    return hasattr(model, "peft_config")


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that training changes, by their names in the network: of an adapted model, those of its adapter."""
    return {name: value for name, value in network_of(model).named_parameters() if value.requires_grad}


@torch.no_grad()
def set_parameters(network: nn.Module, values: dict[str, torch.Tensor]) -> None:
    """
    Sets some of a network's parameters, in place.

    Raises:
        ValueError: names that it does not have.
    """
    parameters = dict(network.named_parameters())
    unknown = sorted(values.keys() - parameters.keys())
    if unknown:
        raise ValueError(
            f"The network has no {unknown[0]}: the adapter has other layers. Use the one it was made with."
        )
    for name, value in values.items():
        parameters[name].copy_(value)


def check_adapter(model: Any) -> None:
    """
    Refuses adapters that the trainers could not train, or would ignore.

    Raises:
        ValueError: saying what to do instead.
    """
    if not hasattr(model, "get_base_model"):
        raise ValueError(
            "Adapters (peft) are not supported inside a model (add_adapter). Wrap it with peft.get_peft_model, which "
            "saves and resumes the adapter alone, or merge the adapter first."
        )
    wrapped: Any = model
    if any(getattr(config, "is_prompt_learning", False) for config in wrapped.peft_config.values()):
        raise ValueError(
            "Prompt tuning is not supported: losses know the positions of the target. Use LoRA on the linear layers."
        )
    network = cast("NATForConditionalGeneration", network_of(model))
    layers = {"lm_head": network.lm_head, "the embedding": network.get_input_embeddings()}
    for name, layer in layers.items():
        if hasattr(layer, "base_layer") or hasattr(layer, "modules_to_save"):
            raise ValueError(
                f"An adapter on {name} would have no effect: losses and decoding use its weight itself. Leave it out "
                "of target_modules and modules_to_save; q_proj, k_proj, v_proj, out_proj, fc1 and fc2 can have one."
            )
    if not trained_parameters(model):
        raise ValueError("The adapter is frozen. Load it with is_trainable=True, or make a new one.")
