# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Deterministic iterative refinement: the shared encoder-decoder as it is, read again pass by pass."""

from .configuration_refine import RefineConfig
from .modeling_length import LengthPredictionForConditionalGeneration
from .modeling_nat import NATModel


class RefineModel(NATModel):
    """Encoder and decoder without the vocabulary projection and the length predictor."""

    config_class = RefineConfig
    _keys_to_ignore_on_load_unexpected = [r"^length_head\."]


class RefineForConditionalGeneration(LengthPredictionForConditionalGeneration):
    """
    Iterative refinement with tied vocabulary projection and length predictor: every pass of [`generate`] reads the
    whole translation of the pass before, masks at first, and writes all of it again.

    Source: Lee et al. 2018 (arXiv 1802.06901).

    ```python
    >>> import torch
    >>> from dims_hf import RefineConfig, RefineForConditionalGeneration
    >>> config = RefineConfig(vocab_size=20, d_model=16, encoder_layers=1, decoder_layers=1,
    ...     encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32)
    >>> model = RefineForConditionalGeneration(config).eval()
    >>> source = torch.tensor([[0, 7, 8, 2]])
    >>> draft = torch.tensor([[0, 9, 9, 11, 2]])
    >>> tuple(model(source, decoder_input_ids=draft).logits.shape)
    (1, 5, 20)

    ```"""

    config_class = RefineConfig
    model_class = RefineModel


__all__ = ["RefineForConditionalGeneration", "RefineModel"]
