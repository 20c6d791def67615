# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Configuration of the DA-Transformer, which writes a graph of words instead of predicting a length."""

from huggingface_hub.dataclasses import strict

from .configuration_nat import NATConfig


@strict
class DATConfig(NATConfig):
    r"""
    DA-Transformer for translation. All other fields are those of [`NATConfig`].

    Source: Huang et al. 2022 (arXiv 2205.07459); values of its WMT14 recipe.

    Args:
        upsample_ratio (`int`): vertices of the graph per source token, `<s>` and `</s>` counted. A source may have
            `max_position_embeddings // upsample_ratio` tokens.
        link_heads (`int`): heads of the transitions between vertices; must divide `d_model`.

    ```python
    >>> from dims_hf import DATConfig, DATForConditionalGeneration
    >>> config = DATConfig(vocab_size=100, d_model=32, encoder_layers=1, decoder_layers=1)
    >>> model = DATForConditionalGeneration(config)
    >>> model.config.max_source_length
    128

    ```"""

    model_type = "dat"
    remote_code_map = {
        "AutoConfig": "configuration_dat.DATConfig",
        "AutoModel": "modeling_dat.DATModel",
        "AutoModelForSeq2SeqLM": "modeling_dat.DATForConditionalGeneration",
    }

    decoding_strategy = "dat"
    makes_one_pass = True

    upsample_ratio: int = 8
    link_heads: int = 8
    activation_function: str = "gelu"

    def _check_values(self) -> None:
        super()._check_values()
        if self.upsample_ratio < 1:
            raise ValueError(f"upsample_ratio must be >= 1, got {self.upsample_ratio}. The paper uses 8.")
        if self.link_heads < 1 or self.d_model % self.link_heads:
            raise ValueError(
                f"d_model={self.d_model} is not divisible by link_heads={self.link_heads}. "
                "Choose a number of heads that divides d_model."
            )

    @property
    def max_source_length(self) -> int:
        """Longest source in tokens, `<s>` and `</s>` included, whose graph fits the position table."""
        return self.max_position_embeddings // self.upsample_ratio


__all__ = ["DATConfig"]
