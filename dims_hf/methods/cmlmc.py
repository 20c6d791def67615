# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""CMLMC: a teacher that learns to fill masks, to correct its own mistakes, and to predict masked source tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dims_hf.methods.base import Items, Run, Sourced
from dims_hf.methods.cmlm import CMLM, CMLMOptions
from dims_hf.methods.masked_targets import MaskedTargets
from dims_hf.methods.masks import MaskedBatch, sample_fraction, sample_source_mask, special_ids
from dims_hf.methods.options import option
from dims_hf.models.generation_nat import choose_tokens
from dims_hf.models.masking import find_content
from dims_hf.objectives import Loss, cmlmc_loss, encoder_prediction_loss
from dims_hf.objectives.cmlmc import REDUCTIONS


_CMLMC_RECIPE = "released CMLMC code, train_cmlmc_ende.sh"


@dataclass(frozen=True)
class CMLMCOptions(CMLMOptions):
    """Settings of CMLMC training; defaults as the teachers of DiMS were trained."""

    correction_reduction: str = option(
        "joint",
        choices=REDUCTIONS,
        help="joint: one mean over masked and replaced tokens, as the reference; average: that of two means.",
    )
    replace_fraction: float = option(
        0.3,
        ge=0,
        le=1,
        help="Share of revealed tokens replaced by predictions, to be corrected.",
        advice="The reference uses 0.3.",
    )
    encoder_mask_fraction: float = option(
        0.1,
        ge=0,
        le=1,
        help="Largest share of source tokens masked; 0 = none.",
        advice="The reference uses 0.1.",
    )
    encoder_loss_weight: float = option(
        0.01,
        ge=0,
        le=float("inf"),
        help="Weight of the prediction of masked source tokens.",
        advice="The reference uses 0.01.",
    )


class CorrectionBatch(MaskedBatch):
    """
    [`MaskedBatch`] whose source is partially masked too.

    `correction_labels` (B, T; target ids at the revealed positions that a prediction will replace, else -100),
    `source_labels` (B, S; source ids where masked, else -100).
    """

    correction_labels: torch.Tensor
    source_labels: torch.Tensor


class CMLMC(MaskedTargets):
    """
    Conditional masked language model with correction.

    One batch, over one encoding of the partially masked source:
    1. fill the masks of the partially masked target (with gradient);
    2. predict the target from masks alone (argmax, no gradient);
    3. put those predictions in place of some revealed tokens, and predict the references there (with gradient).

    Source: Huang et al. 2022 (CMLMC), §3; masking and prediction of the source: Guo et al. 2020 (JM-NAT).
    """

    paper = "Huang et al. 2022 (CMLMC, ICLR)"
    families = ("cmlmc",)
    items = (*CMLM.items, "replaced", "source_tokens")
    Options = CMLMCOptions
    published = {
        "released_cmlmc_teacher": {
            **CMLM.published["fairseq_cmlm_teacher"],
            "model_type": Sourced("cmlmc", _CMLMC_RECIPE),
            "learning_rate": Sourced(7e-4, _CMLMC_RECIPE),
            "warmup_steps": Sourced(40_000, _CMLMC_RECIPE),
            "max_steps": Sourced(-1, f"{_CMLMC_RECIPE}: epochs count"),
            "num_train_epochs": Sourced(250.0, _CMLMC_RECIPE),
            "max_tokens_per_batch": Sourced(8192, _CMLMC_RECIPE),
            "dropout": Sourced(0.2, _CMLMC_RECIPE),
        }
    }

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> CorrectionBatch:
        """The batch with targets and sources masked, and the tokens chosen that predictions will replace."""
        masked, config, options = super().prepare(batch, keys, step), self.config, self.options
        is_revealed = self._find_content(masked) & (masked["decoder_input_ids"] != config.mask_token_id)
        is_replaced = sample_fraction(is_revealed, keys, options.replace_fraction)
        source, is_token = batch["input_ids"], batch["attention_mask"].ne(0)
        is_source = find_content(source, special_ids(config)) & is_token
        is_masked = sample_source_mask(is_source, keys, options.encoder_mask_fraction)
        is_mask_id = source == config.mask_token_id
        # the attention mask stays: a masked source token is a token
        masked["input_ids"] = source.masked_fill(is_masked, config.mask_token_id)
        return CorrectionBatch(
            **masked,
            correction_labels=batch["labels"].masked_fill(~is_replaced, -100),
            source_labels=source.masked_fill(~is_masked | is_mask_id, -100),
        )

    def count(self, batch: CorrectionBatch) -> dict[str, int]:
        """Masked and replaced tokens, masked source tokens, and sentences."""
        return {
            **super().count(batch),
            "replaced": int((batch["correction_labels"] != -100).sum()),
            "source_tokens": int((batch["source_labels"] != -100).sum()),
        }

    def loss(self, run: Run, batch: CorrectionBatch, items: Items) -> Loss:
        """Token, correction, encoder and length loss of one batch."""
        options = self.options
        outputs, is_masked = self.forward(run, batch)
        encoder_hidden = outputs.encoder_last_hidden_state
        is_replaced = batch["correction_labels"] != -100
        corrected = run.model(
            attention_mask=batch["attention_mask"],
            # both passes share one encoding, and its gradient
            encoder_outputs=(encoder_hidden,),
            decoder_input_ids=self.replace_tokens(run, batch, encoder_hidden),
            decoder_attention_mask=batch["decoder_attention_mask"],
            logits_positions=torch.zeros_like(is_replaced),
        )
        with run.autocast():
            token = cmlmc_loss(
                run.vocabulary(outputs.decoder_last_hidden_state[is_masked]),
                run.vocabulary(corrected.decoder_last_hidden_state[is_replaced]),
                # both kinds of labels in one tensor: no position is masked and replaced
                torch.where(is_replaced, batch["correction_labels"], batch["labels"]),
                is_masked,
                is_replaced,
                label_smoothing=options.label_smoothing,
                reduction=options.correction_reduction,
                num_items=(items["tokens"], items["replaced"]),
            )
        encoder = self.encoder_loss(run, batch, encoder_hidden, items)
        total = token.total + options.encoder_loss_weight * encoder.total
        return self.add_length_loss(Loss(total, {**token.parts, **encoder.parts}), outputs.length_logits, batch, items)

    @torch.no_grad()
    def replace_tokens(self, run: Run, batch: CorrectionBatch, encoder_hidden: torch.Tensor) -> torch.Tensor:
        """The partially masked target (B, T) with predictions from masks alone at the positions to correct."""
        network, target = run.network, batch["decoder_input_ids"]
        is_replaced = batch["correction_labels"] != -100
        with run.autocast():
            hidden = network.model.decoder(
                # from masks alone, as in the first decoding pass, whose mistakes are to be corrected
                target.masked_fill(self._find_content(batch), self.config.mask_token_id),
                batch["decoder_attention_mask"],
                encoder_hidden_states=encoder_hidden,
                encoder_attention_mask=batch["attention_mask"],
                return_dict=True,
            ).last_hidden_state
            logits = network.project_vocabulary(hidden[is_replaced])
        predictions, _ = choose_tokens(logits, network.suppressed_token_ids())
        return target.masked_scatter(is_replaced, predictions)

    def encoder_loss(self, run: Run, batch: CorrectionBatch, encoder_hidden: torch.Tensor, items: Items) -> Loss:
        """Loss of the masked source tokens; the mask's logit is not overwritten here, as in the reference."""
        labels = batch["source_labels"]
        is_labelled = labels != -100
        with run.autocast():
            # the plain layer: `project_vocabulary` would overwrite the mask's logit
            logits = run.network.lm_head(encoder_hidden[is_labelled])
        return encoder_prediction_loss(
            logits,
            labels[is_labelled],
            label_smoothing=self.options.label_smoothing,
            num_items=items["source_tokens"],
        )

    def _find_content(self, batch: MaskedBatch) -> torch.Tensor:
        """Content positions (B, T) of the target, masked ones included."""
        return find_content(batch["decoder_input_ids"], special_ids(self.config)) & batch["decoder_attention_mask"]
