# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Configuration of AligNART, whose decoder input is the source in the order of the target."""

from huggingface_hub.dataclasses import strict

from .configuration_nat import NATConfig


@strict
class AligNARTConfig(NATConfig):
    r"""
    AligNART for translation. All other fields are those of [`NATConfig`].

    Source: Song et al. 2021 (arXiv 2109.06481). Words aligned to nothing are aligned to the source's `<s>`.

    Args:
        max_copies (`int`): most target words that one source token is aligned to.
        alignment_loss_weight (`float`): weight of each of the three alignment losses in the loss of `forward`.

    ```python
    >>> from dims_hf import AligNARTConfig, AligNARTForConditionalGeneration
    >>> config = AligNARTConfig(vocab_size=100, d_model=32, encoder_layers=1, decoder_layers=1)
    >>> model = AligNARTForConditionalGeneration(config)
    >>> model.config.max_copies
    16

    ```"""

    model_type = "alignart"
    remote_code_map = {
        "AutoConfig": "configuration_alignart.AligNARTConfig",
        "AutoModel": "modeling_alignart.AligNARTModel",
        "AutoModelForSeq2SeqLM": "modeling_alignart.AligNARTForConditionalGeneration",
    }

    decoding_strategy = "alignart"
    makes_one_pass = True

    max_copies: int = 16
    alignment_loss_weight: float | int = 0.5

    def _check_values(self) -> None:
        super()._check_values()
        if self.max_copies < 1:
            raise ValueError(f"max_copies must be >= 1, got {self.max_copies}. Use 16.")


__all__ = ["AligNARTConfig"]
