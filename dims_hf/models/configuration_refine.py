# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Configuration of deterministic iterative refinement, whose passes read the whole translation of the one before."""

from huggingface_hub.dataclasses import strict

from .configuration_nat import LengthPredictionConfig


@strict
class RefineConfig(LengthPredictionConfig):
    r"""
    Deterministic iterative refinement for translation. All fields are those of [`LengthPredictionConfig`].

    Source: Lee et al. 2018 (arXiv 1802.06901), with one decoder for all passes as in fairseq, and masks instead of
    copied source words as its first input.

    ```python
    >>> from dims_hf import RefineConfig, RefineForConditionalGeneration
    >>> config = RefineConfig(vocab_size=100, d_model=32, encoder_layers=1, decoder_layers=1)
    >>> model = RefineForConditionalGeneration(config)
    >>> model.config.update_all_positions
    True

    ```"""

    model_type = "refine"
    remote_code_map = {
        "AutoConfig": "configuration_refine.RefineConfig",
        "AutoModel": "modeling_refine.RefineModel",
        "AutoModelForSeq2SeqLM": "modeling_refine.RefineForConditionalGeneration",
    }

    decoding_strategy = "refine"
    fills_all = True

    update_all_positions: bool = True


__all__ = ["RefineConfig"]
