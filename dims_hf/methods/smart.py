# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""SMART: a CMLM that learns from its own predictions, some of them masked again."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dims_hf.methods.base import Batch, Items, MethodOptions, Run, Sourced
from dims_hf.methods.masked_targets import MaskedTargets
from dims_hf.methods.masks import (
    MaskedBatch,
    mask_batch,
    sample_fraction,
    sample_uniform_mask,
    second_keys,
    special_ids,
)
from dims_hf.methods.options import option
from dims_hf.models.masking import find_content
from dims_hf.models.modeling_translation import NATForConditionalGeneration
from dims_hf.objectives import Loss, make_smart_inputs, smart_loss


_SMART = "Ghazvininejad et al. 2020b (arXiv 2001.08785)"


@dataclass(frozen=True)
class SMARTOptions(MethodOptions):
    """Settings of SMART training."""

    smart_mask_fraction: float | None = option(
        None,
        ge=0,
        le=1,
        help="Share of the first input that is masked; none = 1 … N tokens, as in CMLM.",
        advice="The paper finds 0.25 to 0.5 best.",
    )
    label_smoothing: float = option(
        0.1, ge=0, le=0.999, help="Smoothing of the token loss, in [0, 1).", advice="The papers use 0.1."
    )
    length_weight: float = option(
        0.1, ge=0, le=float("inf"), help="Weight of the length loss.", advice="The reference uses 0.1."
    )


class SMARTBatch(MaskedBatch):
    """
    [`MaskedBatch`] of the first pass, with `labels` (B, T; target ids at all content, else -100) and `is_remasked`
    (B, T; what the second pass does not see).
    """

    is_remasked: torch.Tensor


class SMART(MaskedTargets):
    """
    Semi-autoregressive training for mask-predict: a CMLM sees its own predictions, and corrects them.

    1. mask some of the target, and fill the masks with the model's predictions (no gradient, no dropout);
    2. mask the result again, by an independent draw;
    3. predict the target at all positions, those too that are seen: they may be wrong.

    A model for several passes: decoding predicts every position in each of them (`update_all_positions`).

    Source: Ghazvininejad et al. 2020b (arXiv 2001.08785), §3.
    """

    paper = _SMART
    families = ("cmlm",)
    items = ("tokens", "sentences", "masked")
    Options = SMARTOptions
    published = {
        "smart_teacher": {
            "method": Sourced("smart", _SMART),
            "label_smoothing": Sourced(0.1, f"{_SMART}: hyper-parameters of CMLM"),
            "length_weight": Sourced(0.1, f"{_SMART}: hyper-parameters of CMLM"),
        }
    }

    def configure(self, model: NATForConditionalGeneration) -> None:
        """The model corrects what it sees, so that decoding asks it for every position."""
        super().configure(model)
        # saved with the checkpoint, so that `generate` knows without being told
        model.config.update_all_positions = True

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> SMARTBatch:
        """The first pass's input, and what the second one will not see."""
        full, config = mask_batch(batch, self.config, policy="full", keys=keys), self.config
        targets = batch["labels"].masked_fill(batch["labels"] == -100, config.pad_token_id)
        is_content = find_content(targets, special_ids(config)) & full["decoder_attention_mask"]
        fraction = self.options.smart_mask_fraction
        if fraction is None:
            was_masked = sample_uniform_mask(is_content, keys)
        else:
            was_masked = sample_fraction(is_content, keys, fraction)
        full["decoder_input_ids"] = targets.masked_fill(was_masked, config.mask_token_id)
        return SMARTBatch(**full, is_remasked=sample_uniform_mask(is_content, second_keys(keys)))

    def count(self, batch: Batch) -> dict[str, int]:
        """Tokens, sentences, and tokens that the second pass does not see."""
        return {**super().count(batch), "masked": int((batch["is_remasked"] & (batch["labels"] != -100)).sum())}

    def loss(self, run: Run, batch: Batch, items: Items) -> Loss:
        """Token and length loss of the second pass."""
        tokens = batch["decoder_input_ids"]
        is_masked = batch["is_remasked"]
        second = make_smart_inputs(
            tokens,
            self.fill_masks(run, batch),
            tokens == self.config.mask_token_id,
            is_masked,
            mask_token_id=self.config.mask_token_id,
        )
        inputs: Batch = {**batch, "decoder_input_ids": second}
        outputs, _ = self.forward(run, inputs)
        with run.autocast():
            token = smart_loss(
                run.vocabulary(outputs.decoder_last_hidden_state),
                batch["labels"],
                is_masked,
                label_smoothing=self.options.label_smoothing,
                num_items=(items["tokens"], items["masked"]),
            )
        return self.add_length_loss(token, outputs.length_logits, batch, items)
