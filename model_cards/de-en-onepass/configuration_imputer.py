# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Configuration of the Imputer, which writes alignments with blanks instead of predicting a length."""

from huggingface_hub.dataclasses import strict

from .configuration_nat import NATConfig


@strict
class ImputerConfig(NATConfig):
    r"""
    Imputer for translation. All other fields are those of [`NATConfig`].

    Source: Chan et al. 2020 (Imputer, arXiv 2002.08926) and Saharia et al. 2020 (arXiv 2004.07437), with the encoder,
    decoder and cross-attention that Norouzi et al. 2023 (arXiv 2206.02999, Appendix F) give it.

    Args:
        upsample_ratio (`int`): positions of an alignment per source token, `<s>` and `</s>` counted. A source may have
            `max_position_embeddings // upsample_ratio` tokens.
        blank_token_id (`int`): id of the blank of alignments; imported fairseq checkpoints use the last row.
        update_all_positions (`bool`): whether every decoding pass re-predicts all positions of the alignment, as
            fairseq checkpoints trained with `--ctc-distill` do, or only the masked ones.

    ```python
    >>> from dims_hf import ImputerConfig, ImputerForConditionalGeneration
    >>> config = ImputerConfig(vocab_size=100, d_model=32, encoder_layers=1, decoder_layers=1)
    >>> model = ImputerForConditionalGeneration(config)
    >>> model.config.blank_token_id
    5

    ```"""

    model_type = "imputer"
    remote_code_map = {
        "AutoConfig": "configuration_imputer.ImputerConfig",
        "AutoModel": "modeling_imputer.ImputerModel",
        "AutoModelForSeq2SeqLM": "modeling_imputer.ImputerForConditionalGeneration",
    }

    writes_alignments = True
    decoding_strategy = "imputer"

    upsample_ratio: int = 2
    blank_token_id: int = 5

    def _check_values(self) -> None:
        super()._check_values()
        if self.upsample_ratio < 1:
            raise ValueError(f"upsample_ratio must be >= 1, got {self.upsample_ratio}. The reference uses 2.")
        self._check_token_id("blank_token_id")
        for name in ("bos_token_id", "pad_token_id", "eos_token_id", "unk_token_id", "mask_token_id"):
            if getattr(self, name) == self.blank_token_id:
                raise ValueError(
                    f"blank_token_id={self.blank_token_id} is also {name}. Give the blank a token of its own."
                )

    @property
    def max_source_length(self) -> int:
        """Longest source in tokens, `<s>` and `</s>` included, whose alignment fits the position table."""
        return self.max_position_embeddings // self.upsample_ratio


__all__ = ["ImputerConfig"]
