# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Configuration of the Levenshtein Transformer, which deletes and inserts tokens until nothing is left to do."""

from huggingface_hub.dataclasses import strict

from .configuration_nat import NATConfig


@strict
class LevenshteinConfig(NATConfig):
    r"""
    Levenshtein Transformer for translation. All other fields are those of [`NATConfig`].

    Source: Gu et al. 2019 (arXiv 1905.11006).

    Args:
        max_insertions (`int`): most tokens that one pass inserts between two others; classes are 0 … `max_insertions`.

    ```python
    >>> from dims_hf import LevenshteinConfig, LevenshteinForConditionalGeneration
    >>> config = LevenshteinConfig(vocab_size=100, d_model=32, encoder_layers=1, decoder_layers=1)
    >>> model = LevenshteinForConditionalGeneration(config)
    >>> model.config.max_insertions
    255

    ```"""

    model_type = "levenshtein"
    remote_code_map = {
        "AutoConfig": "configuration_levenshtein.LevenshteinConfig",
        "AutoModel": "modeling_levenshtein.LevenshteinModel",
        "AutoModelForSeq2SeqLM": "modeling_levenshtein.LevenshteinForConditionalGeneration",
    }

    decoding_strategy = "levenshtein"

    max_insertions: int = 255

    def _check_values(self) -> None:
        super()._check_values()
        if self.max_insertions < 1:
            raise ValueError(f"max_insertions must be >= 1, got {self.max_insertions}. The paper uses 255.")


__all__ = ["LevenshteinConfig"]
