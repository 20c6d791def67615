# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Configuration of the CMLM whose words depend on their neighbours through a conditional random field."""

from huggingface_hub.dataclasses import strict

from .configuration_nat import LengthPredictionConfig


@strict
class CMLMCRFConfig(LengthPredictionConfig):
    r"""
    CMLM with a bigram conditional random field. All other fields are those of [`LengthPredictionConfig`].

    Source: Sun et al. 2019 (NART-CRF and NART-DCRF, arXiv 1910.11555); sizes of its field.

    Args:
        crf_rank (`int`): r; the transition matrix of V × V is a product of two tables of V × r.
        crf_beam_size (`int`): candidates of each position, the likeliest by the decoder alone.
        crf_dynamic (`bool`): transitions also depend on the decoder states of both positions.

    ```python
    >>> from dims_hf import CMLMCRFConfig, CMLMCRFForConditionalGeneration
    >>> config = CMLMCRFConfig(vocab_size=100, d_model=32, encoder_layers=1, decoder_layers=1)
    >>> model = CMLMCRFForConditionalGeneration(config)
    >>> model.config.crf_beam_size
    64

    ```"""

    model_type = "cmlm_crf"
    remote_code_map = {
        "AutoConfig": "configuration_cmlm_crf.CMLMCRFConfig",
        "AutoModel": "modeling_cmlm_crf.CMLMCRFModel",
        "AutoModelForSeq2SeqLM": "modeling_cmlm_crf.CMLMCRFForConditionalGeneration",
    }

    decoding_strategy = "crf"

    crf_rank: int = 32
    crf_beam_size: int = 64
    crf_dynamic: bool = True

    def _check_values(self) -> None:
        super()._check_values()
        for name in ("crf_rank", "crf_beam_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}. The paper uses 32 and 64.")


__all__ = ["CMLMCRFConfig"]
