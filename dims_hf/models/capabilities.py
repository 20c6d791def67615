# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What may be asked of the configuration of any model, one of ours or of transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def is_non_autoregressive(config: PreTrainedConfig) -> bool:
    """Whether it is a configuration of this package, also of one whose code came with a checkpoint."""
    # Configurations of transformers declare nothing.
    return bool(getattr(config, "decoding_strategy", ""))


def predicts_length(config: PreTrainedConfig) -> bool:
    """Whether the model fixes the length of a translation before it decodes: `predict_length`, `max_target_length`."""
    return is_non_autoregressive(config) and config.predicts_length


def makes_one_pass(config: PreTrainedConfig) -> bool:
    """Whether decoding is one pass by construction, so that there are no passes to vary."""
    # Not declared by configurations whose older code came with a checkpoint.
    return getattr(config, "makes_one_pass", False)


def longest_source(config: PreTrainedConfig) -> int | None:
    """Most tokens of a source, `<s>` and `</s>` counted; `None` for a model without a table of positions."""
    if is_non_autoregressive(config):
        return config.max_source_length
    return getattr(config, "max_position_embeddings", None)


def empty_token_id(config: PreTrainedConfig) -> int | None:
    """Id of a token that stands for nothing, in families that may have one; `None` where there is none."""
    # Not declared by configurations whose older code came with a checkpoint.
    return getattr(config, "empty_token_id", None)


def has_pretrained_encoder(config: PreTrainedConfig) -> bool:
    """Whether sources are read by an encoder of transformers, with a tokenizer of its own."""
    # Not declared by configurations whose older code came with a checkpoint.
    return getattr(config, "pretrained_encoder", None) is not None


__all__ = [
    "empty_token_id",
    "has_pretrained_encoder",
    "is_non_autoregressive",
    "longest_source",
    "makes_one_pass",
    "predicts_length",
]
