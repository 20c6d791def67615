# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Configuration of the conditional masked language model (CMLM)."""

from huggingface_hub.dataclasses import strict

from .configuration_nat import LengthPredictionConfig


@strict
class CMLMConfig(LengthPredictionConfig):
    r"""
    Conditional masked language model for translation. All fields are those of [`LengthPredictionConfig`].

    Source: Ghazvininejad et al. 2019 (Mask-Predict, arXiv 1904.09324), with the length predictor on mean-pooled
    encoder states that Norouzi et al. 2023 (arXiv 2206.02999) build on.

    ```python
    >>> from dims_hf import CMLMConfig, CMLMForConditionalGeneration
    >>> config = CMLMConfig(vocab_size=100, d_model=32, encoder_layers=1, decoder_layers=1)
    >>> model = CMLMForConditionalGeneration(config)
    >>> model.config.mask_token_id
    4

    ```"""

    model_type = "cmlm"
    remote_code_map = {
        "AutoConfig": "configuration_cmlm.CMLMConfig",
        "AutoModel": "modeling_cmlm.CMLMModel",
        "AutoModelForSeq2SeqLM": "modeling_cmlm.CMLMForConditionalGeneration",
    }


__all__ = ["CMLMConfig"]
