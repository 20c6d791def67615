# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What a CMLMC teacher is trained on: masked tokens, its own mistakes to correct, and masked source tokens."""

from __future__ import annotations

import torch

from dims_hf.methods.cmlm import CMLMTeacherLoss, Items, forward_masked
from dims_hf.methods.masking import MaskedBatch
from dims_hf.models.generation_nat import choose_tokens
from dims_hf.models.masking import find_content, mix_keys, sample_fraction, sample_source_mask
from dims_hf.objectives import Loss, cmlmc_loss, encoder_prediction_loss


class CorrectionBatch(MaskedBatch):
    """
    [`MaskedBatch`] whose source is partially masked too.

    `correction_labels` (B, T; target ids at the revealed positions that a prediction will replace, else -100),
    `source_labels` (B, S; source ids where masked, else -100).
    """

    correction_labels: torch.LongTensor
    source_labels: torch.LongTensor


class CMLMCTeacherLoss(CMLMTeacherLoss):
    """
    Inputs, items and token loss of a teacher that learns to fill masks and to correct itself.

    One batch, over one encoding of the partially masked source:
    1. fill the masks of the partially masked target (with gradient);
    2. predict the target from masks alone (argmax, no gradient);
    3. put those predictions in place of some revealed tokens, and predict the references there (with gradient).

    Source: Huang et al. 2022 (CMLMC), §3; masking and prediction of the source: Guo et al. 2020 (JM-NAT). Which tokens
    are masked and replaced depends on (mask_seed, step, corpus index) alone.
    """

    options = ("correction_reduction", "replace_fraction", "encoder_mask_fraction", "encoder_loss_weight")
    item_names = (*CMLMTeacherLoss.item_names, "replaced", "source_tokens")

    def mask(self, batch: dict[str, torch.Tensor], step: int) -> CorrectionBatch:
        """The batch as the model sees it at an optimiser step."""
        masked, config = super().mask(batch, step), self.config
        keys = mix_keys(self.args.mask_seed, step, batch["index"])
        is_revealed = self._find_content(masked) & (masked["decoder_input_ids"] != config.mask_token_id)
        is_replaced = sample_fraction(is_revealed, keys, self.args.replace_fraction)
        source, is_token = batch["input_ids"], batch["attention_mask"].ne(0)
        is_source = find_content(source, self._special_ids) & is_token
        is_masked = sample_source_mask(is_source, keys, self.args.encoder_mask_fraction)
        is_mask_id = source == config.mask_token_id
        return CorrectionBatch(
            **{**masked, "input_ids": source.masked_fill(is_masked, config.mask_token_id)},
            correction_labels=batch["labels"].masked_fill(~is_replaced, -100),
            source_labels=source.masked_fill(~is_masked | is_mask_id, -100),
        )

    def count_items(self, inputs: CorrectionBatch) -> dict[str, int]:
        """What the loss's means are over, for each of `item_names`."""
        replaced, source_tokens = (int((inputs[f"{name}_labels"] != -100).sum()) for name in ("correction", "source"))
        return {**super().count_items(inputs), "replaced": replaced, "source_tokens": source_tokens}

    def __call__(self, model: torch.nn.Module, inputs: CorrectionBatch, items: Items) -> tuple[Loss, torch.Tensor]:
        """Token, correction and encoder loss of one batch, and the logits of the length predictor."""
        args = self.args
        outputs, is_masked = forward_masked(model, inputs, self.config.mask_token_id)
        encoder_hidden = outputs.encoder_last_hidden_state
        is_replaced = inputs["correction_labels"] != -100
        corrected = model(
            attention_mask=inputs["attention_mask"],
            encoder_outputs=(encoder_hidden,),
            decoder_input_ids=self.replace_tokens(model, inputs, encoder_hidden),
            decoder_attention_mask=inputs["decoder_attention_mask"],
            logits_positions=torch.zeros_like(is_replaced),
        )
        with self.accelerator.autocast():
            token = cmlmc_loss(
                self.vocabulary(model, outputs.decoder_last_hidden_state[is_masked]),
                self.vocabulary(model, corrected.decoder_last_hidden_state[is_replaced]),
                torch.where(is_replaced, inputs["correction_labels"], inputs["labels"]),
                is_masked,
                is_replaced,
                label_smoothing=args.label_smoothing,
                reduction=args.correction_reduction,
                num_items=(items["tokens"], items["replaced"]),
            )
        encoder = self.encoder_loss(model, inputs, encoder_hidden, items)
        total = token.total + args.encoder_loss_weight * encoder.total
        return Loss(total, {**token.parts, **encoder.parts}), outputs.length_logits

    @torch.no_grad()
    def replace_tokens(
        self, model: torch.nn.Module, inputs: CorrectionBatch, encoder_hidden: torch.Tensor
    ) -> torch.LongTensor:
        """The partially masked target (B, T) with predictions from masks alone at the positions to correct."""
        network, target = self.accelerator.unwrap_model(model), inputs["decoder_input_ids"]
        is_replaced = inputs["correction_labels"] != -100
        with self.accelerator.autocast():
            hidden = network.model.decoder(
                target.masked_fill(self._find_content(inputs), self.config.mask_token_id),
                inputs["decoder_attention_mask"],
                encoder_hidden_states=encoder_hidden,
                encoder_attention_mask=inputs["attention_mask"],
                return_dict=True,
            ).last_hidden_state
            logits = network.project_vocabulary(hidden[is_replaced])
        predictions, _ = choose_tokens(logits, network.suppressed_token_ids())
        return target.masked_scatter(is_replaced, predictions)

    def encoder_loss(
        self, model: torch.nn.Module, inputs: CorrectionBatch, encoder_hidden: torch.Tensor, items: Items
    ) -> Loss:
        """Loss of the masked source tokens; the mask's logit is not overwritten here, as in the reference."""
        labels = inputs["source_labels"]
        is_labelled = labels != -100
        with self.accelerator.autocast():
            logits = self.accelerator.unwrap_model(model).lm_head(encoder_hidden[is_labelled])
        return encoder_prediction_loss(
            logits,
            labels[is_labelled],
            label_smoothing=self.args.label_smoothing,
            num_items=items["source_tokens"],
        )

    @property
    def _special_ids(self) -> tuple[int, int, int]:
        return self.config.bos_token_id, self.config.eos_token_id, self.config.pad_token_id

    def _find_content(self, inputs: MaskedBatch) -> torch.BoolTensor:
        """Content positions (B, T) of the target, masked ones included."""
        return find_content(inputs["decoder_input_ids"], self._special_ids) & inputs["decoder_attention_mask"]
