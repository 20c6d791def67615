# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Conditional masked language model: the shared encoder-decoder as it is."""

from .configuration_cmlm import CMLMConfig
from .modeling_length import LengthPredictionForConditionalGeneration
from .modeling_nat import NATModel


class CMLMModel(NATModel):
    """CMLM encoder and decoder without the vocabulary projection and the length predictor."""

    config_class = CMLMConfig
    _keys_to_ignore_on_load_unexpected = [r"^length_head\."]


class CMLMForConditionalGeneration(LengthPredictionForConditionalGeneration):
    """
    CMLM with tied vocabulary projection and length predictor; translates with [`generate`].

    Source: Ghazvininejad et al. 2019 (arXiv 1904.09324); length predictor and sizes as in Norouzi et al. 2023 (arXiv
    2206.02999).

    ```python
    >>> import torch
    >>> from dims_hf import CMLMConfig, CMLMForConditionalGeneration
    >>> config = CMLMConfig(vocab_size=20, d_model=16, encoder_layers=1, decoder_layers=1,
    ...     encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32)
    >>> model = CMLMForConditionalGeneration(config).eval()
    >>> source = torch.tensor([[0, 7, 8, 2]])
    >>> target = torch.tensor([[0, 4, 9, 4, 2]])  # two masked positions
    >>> tuple(model(source, decoder_input_ids=target).logits.shape)
    (1, 5, 20)

    ```"""

    config_class = CMLMConfig
    model_class = CMLMModel


__all__ = ["CMLMForConditionalGeneration", "CMLMModel"]
