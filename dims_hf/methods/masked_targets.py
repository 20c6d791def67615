# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What the methods of masked targets share: masking, counting, the forward pass, token and length loss."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch

from dims_hf.methods.base import Batch, Items, Method, MethodOptions, Run
from dims_hf.methods.masks import MaskedBatch, mask_batch, read_ratio, sample_glanced
from dims_hf.methods.options import option
from dims_hf.models.modes import evaluation_mode
from dims_hf.objectives import Loss, cmlm_loss, count_glances, length_classes, length_loss


@dataclass(frozen=True)
class MaskedTargetOptions(MethodOptions):
    """Settings of a method that masks targets and trains a length predictor."""

    mask_policy: str = option("uniform", choices=("uniform", "full"), help="Distribution of masks: uniform or full.")
    length_weight: float = option(
        0.1, ge=0, le=float("inf"), help="Weight of the length loss.", advice="The reference uses 0.1."
    )


class MaskedOutput(Protocol):
    """What [`MaskedTargets.forward`] gives: last states of encoder (B, S, D) and decoder (B, T, D), length logits."""

    encoder_last_hidden_state: torch.Tensor
    decoder_last_hidden_state: torch.Tensor
    length_logits: torch.Tensor


class GlancedBatch(MaskedBatch):
    """[`MaskedBatch`], fully masked, with `keys` (B,) and `glancing_ratio` (B,)."""

    keys: torch.Tensor
    glancing_ratio: torch.Tensor


class MaskedTargets(Method):
    """Methods whose model fills masks of a target of known length; `tokens` are masked ones, with a label."""

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> MaskedBatch:
        """The batch with `mask_policy` applied to each target."""
        return mask_batch(batch, self.config, policy=self.options.mask_policy, keys=keys)

    def count(self, batch: Batch) -> dict[str, int]:
        """Masked tokens, and sentences."""
        return {"tokens": int((batch["labels"] != -100).sum()), "sentences": batch["labels"].shape[0]}

    def forward(self, run: Run, batch: MaskedBatch, **options: bool) -> tuple[MaskedOutput, torch.Tensor]:
        """
        Forward pass without any logits, for losses that project hidden states, and the mask (B, T).

        Args:
            run ([`Run`]): where it is computed.
            batch ([`MaskedBatch`]): from [`prepare`].
            options: what else the model is to return, such as `output_attentions`.
        """
        # not `labels != -100`: a reference token that is the mask itself is masked, and has no label
        is_masked = batch["decoder_input_ids"] == self.config.mask_token_id
        outputs = run.model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            decoder_input_ids=batch["decoder_input_ids"],
            decoder_attention_mask=batch["decoder_attention_mask"],
            # no position: logits are made chunk by chunk, inside the loss
            logits_positions=torch.zeros_like(is_masked),
            return_length_logits=True,
            **options,
        )
        return outputs, is_masked

    def token_loss(
        self, run: Run, batch: MaskedBatch, hidden_states: torch.Tensor, is_learnt: torch.Tensor, items: Items
    ) -> Loss:
        """Label-smoothed cross-entropy of the learnt positions (B, T), from all of the decoder's states (B, T, D)."""
        with run.autocast():
            return cmlm_loss(
                run.vocabulary(hidden_states[is_learnt]),
                batch["labels"][is_learnt],
                label_smoothing=self.options.label_smoothing,
                num_items=items["tokens"],
            )

    @torch.no_grad()
    def fill_masks(self, run: Run, batch: MaskedBatch) -> torch.Tensor:
        """The batch's targets (B, T), masks replaced by what the model predicts there without dropout."""
        with evaluation_mode(run.network), run.autocast():
            outputs, is_masked = self.forward(replace(run, model=run.network), batch)
            vocabulary = run.vocabulary(outputs.decoder_last_hidden_state[is_masked])
            predictions = vocabulary.predict(run.network.suppressed_token_ids())
        return batch["decoder_input_ids"].masked_scatter(is_masked, predictions)

    def glance(self, run: Run, batch: GlancedBatch) -> GlancedBatch:
        """The batch with some tokens shown, as the model's own predictions from masks alone ask for."""
        ratio = read_ratio(batch["glancing_ratio"])
        if ratio == 0:
            return batch
        labels = batch["labels"]
        # A reference token that is the mask itself has no label and cannot be shown.
        may_show = labels != -100
        is_wrong = may_show & (self.fill_masks(run, batch) != labels)
        is_shown = sample_glanced(may_show, batch["keys"], count_glances(is_wrong.sum(dim=1), ratio))
        return GlancedBatch(
            **{
                **batch,
                "decoder_input_ids": torch.where(is_shown, labels, batch["decoder_input_ids"]),
                # the denominator stays that of all tokens, as `count` told before the glance
                "labels": labels.masked_fill(is_shown, -100),
            }
        )

    def add_length_loss(self, token: Loss, length_logits: torch.Tensor, batch: MaskedBatch, items: Items) -> Loss:
        """Adds the weighted cross-entropy of the length predictor."""
        lengths = length_classes(batch["decoder_attention_mask"], self.config.max_target_length)
        length = length_loss(length_logits, lengths, num_items=items["sentences"])
        return Loss(token.total + self.options.length_weight * length.total, {**token.parts, **length.parts})


class MaskedTokens(MaskedTargets):
    """Methods whose loss is that of the learnt tokens, each by itself, and of the length."""

    def loss(self, run: Run, batch: Batch, items: Items) -> Loss:
        """Token and length loss of one batch."""
        outputs, is_learnt = self.forward(run, batch)
        token = self.token_loss(run, batch, outputs.decoder_last_hidden_state, is_learnt, items)
        return self.add_length_loss(token, outputs.length_logits, batch, items)
