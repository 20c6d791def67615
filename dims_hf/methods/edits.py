# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What the methods of models that edit share: targets of which some tokens are left out."""

from __future__ import annotations

from typing import TypedDict

import torch

from dims_hf.methods.base import Method
from dims_hf.methods.masks import sample_kept, special_ids
from dims_hf.models.masking import find_content


class EditBatch(TypedDict):
    """
    Inputs of one training step. B batch, S source length, T target length.

    `input_ids` (B, S), `attention_mask` (B, S), `decoder_input_ids` (B, T; whole targets), `decoder_attention_mask`
    (B, T), `is_kept` (B, T; what is there at the start, `<s>` and `</s>` among it), `has_words` (B,; targets that are
    not empty).
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    decoder_input_ids: torch.Tensor
    decoder_attention_mask: torch.Tensor
    is_kept: torch.Tensor
    has_words: torch.Tensor


class Edits(Method):
    """Methods whose model completes targets of which a random part is left; empty targets teach nothing."""

    # Whether all words of a target may stay.
    keeps_all = False

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> EditBatch:
        """Whole targets, and which of their tokens stay."""
        is_token = batch["labels"] != -100
        tokens = batch["labels"].masked_fill(~is_token, self.config.pad_token_id)
        is_content = find_content(tokens, special_ids(self.config)) & is_token
        is_kept = sample_kept(is_content, keys, keeps_all=self.keeps_all) | (is_token & ~is_content)
        return EditBatch(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            decoder_input_ids=tokens,
            decoder_attention_mask=is_token,
            is_kept=is_kept,
            has_words=is_content.any(dim=1),
        )

    def num_gaps(self, batch: EditBatch) -> int:
        """Gaps between the tokens that stay, of targets that have words."""
        return int(((batch["is_kept"].sum(dim=1) - 1) * batch["has_words"]).sum())
