# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Configuration of the Insertion Transformer, which inserts a word into every gap at once."""

from huggingface_hub.dataclasses import strict

from .configuration_nat import NATConfig


@strict
class InsertionConfig(NATConfig):
    r"""
    Insertion Transformer for translation. All fields are those of [`NATConfig`]; `pad_token_id` as a prediction means
    that nothing is inserted.

    Source: Stern et al. 2019 (arXiv 1902.03249); padding as the sign for nothing is fairseq's.

    ```python
    >>> from dims_hf import InsertionConfig, InsertionForConditionalGeneration
    >>> config = InsertionConfig(vocab_size=100, d_model=32, encoder_layers=1, decoder_layers=1)
    >>> model = InsertionForConditionalGeneration(config)
    >>> model.config.decoding_strategy
    'insertion'

    ```"""

    model_type = "insertion"
    remote_code_map = {
        "AutoConfig": "configuration_insertion.InsertionConfig",
        "AutoModel": "modeling_insertion.InsertionModel",
        "AutoModelForSeq2SeqLM": "modeling_insertion.InsertionForConditionalGeneration",
    }

    decoding_strategy = "insertion"


__all__ = ["InsertionConfig"]
