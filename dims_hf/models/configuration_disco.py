# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Configuration of DisCo, which predicts every token from context of its own."""

from huggingface_hub.dataclasses import strict

from .configuration_nat import LengthPredictionConfig


@strict
class DisCoConfig(LengthPredictionConfig):
    r"""
    Disentangled context transformer for translation. All fields are those of [`LengthPredictionConfig`].

    Source: Kasai et al. 2020 (arXiv 2001.05136), with the length predictor of the other families.

    ```python
    >>> from dims_hf import DisCoConfig, DisCoForConditionalGeneration
    >>> config = DisCoConfig(vocab_size=100, d_model=32, encoder_layers=1, decoder_layers=1)
    >>> model = DisCoForConditionalGeneration(config)
    >>> model.config.activation_function
    'gelu'

    ```"""

    model_type = "disco"
    remote_code_map = {
        "AutoConfig": "configuration_disco.DisCoConfig",
        "AutoModel": "modeling_disco.DisCoModel",
        "AutoModelForSeq2SeqLM": "modeling_disco.DisCoForConditionalGeneration",
    }

    decoding_strategy = "easy_first"
    fills_all = True
    shows_in_order = True

    activation_function: str = "gelu"
    update_all_positions: bool = True


__all__ = ["DisCoConfig"]
