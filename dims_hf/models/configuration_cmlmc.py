# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Configuration of the conditional masked language model with correction (CMLMC)."""

from huggingface_hub.dataclasses import strict

from .configuration_nat import LengthPredictionConfig


@strict
class CMLMCConfig(LengthPredictionConfig):
    r"""
    Conditional masked language model with correction. All other fields are those of
    [`LengthPredictionConfig`].

    Source: Huang et al. 2022 (CMLMC, ICLR), as Norouzi et al. 2023 (arXiv 2206.02999) train it: embeddings are not
    scaled, and decoding predicts every position anew in each pass.

    Args:
        scale_embedding (`bool`): multiply token embeddings by sqrt(d_model); CMLMC does not.
        update_all_positions (`bool`): whether every decoding pass re-predicts all content positions; CMLMC does.
        legacy_unmasked_attn_no_pad_mask (`bool`): let the decoder's extra self-attention see padding, as the reference
            implementation does. For imported checkpoints only: a sentence's translation then depends on how much
            padding its batch gives it.

    ```python
    >>> from dims_hf import CMLMCConfig, CMLMCForConditionalGeneration
    >>> config = CMLMCConfig(vocab_size=100, d_model=32, encoder_layers=1, decoder_layers=1)
    >>> model = CMLMCForConditionalGeneration(config)
    >>> model.config.update_all_positions
    True

    ```"""

    model_type = "cmlmc"
    remote_code_map = {
        "AutoConfig": "configuration_cmlmc.CMLMCConfig",
        "AutoModel": "modeling_cmlmc.CMLMCModel",
        "AutoModelForSeq2SeqLM": "modeling_cmlmc.CMLMCForConditionalGeneration",
    }

    scale_embedding: bool = False
    update_all_positions: bool = True
    legacy_unmasked_attn_no_pad_mask: bool = False


__all__ = ["CMLMCConfig"]
