# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Turns a padded batch of sentence pairs into a partially masked one."""

from __future__ import annotations

from typing import TypedDict

import torch

from dims_hf.models import NATConfig
from dims_hf.models.masking import MASK_POLICIES, find_content, mix_keys


# Validation masks must not change from one evaluation to the next; no optimiser step has this number.
EVALUATION_STEP = -1


class MaskedBatch(TypedDict):
    """
    Inputs of one training step. B batch, S source length, T target length.

    `input_ids` (B, S), `attention_mask` (B, S), `decoder_input_ids` (B, T; target with masks),
    `decoder_attention_mask` (B, T), `labels` (B, T; target ids where masked, else -100).
    """

    input_ids: torch.LongTensor
    attention_mask: torch.Tensor
    decoder_input_ids: torch.LongTensor
    decoder_attention_mask: torch.BoolTensor
    labels: torch.LongTensor


def mask_batch(batch: dict[str, torch.Tensor], config: NATConfig, *, policy: str, seed: int, step: int) -> MaskedBatch:
    """
    Masks each target by the policy; a sentence's mask depends on (seed, step, its corpus index) and nothing else.

    Args:
        batch (`dict`): from [`TranslationCollator`]: `input_ids`, `attention_mask`, `labels` (whole targets, padded
            with -100) and `index`.
        config ([`NATConfig`]): names the special tokens.
        policy (`str`): key of `MASK_POLICIES`.
        seed, step (`int`): seed of the run and number of the optimiser step.

    Returns:
        [`MaskedBatch`]. A reference token that happens to be the mask id (`<unk>` in imported models) is masked but
        gives no loss.
    """
    is_token = batch["labels"] != -100
    targets = batch["labels"].masked_fill(~is_token, config.pad_token_id)
    special_ids = (config.bos_token_id, config.eos_token_id, config.pad_token_id)
    is_content = find_content(targets, special_ids) & is_token
    is_masked = MASK_POLICIES[policy](is_content, mix_keys(seed, step, batch["index"]))
    is_mask_id = targets == config.mask_token_id
    return MaskedBatch(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        decoder_input_ids=targets.masked_fill(is_masked, config.mask_token_id),
        decoder_attention_mask=is_token,
        labels=targets.masked_fill(~is_masked | is_mask_id, -100),
    )
