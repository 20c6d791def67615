# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""NART-CRF: masked tokens are predicted together, as the best sequence of a bigram field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch

from dims_hf.methods.base import Items, MethodOptions, Run, Sourced
from dims_hf.methods.masked_targets import MaskedTargetOptions, MaskedTargets
from dims_hf.methods.masks import MaskedBatch
from dims_hf.methods.options import option
from dims_hf.models import CMLMCRFConfig, CMLMCRFForConditionalGeneration
from dims_hf.objectives import Loss, crf_loss


_CRF_RECIPE = "fairseq, nacrf_transformer and examples/nonautoregressive_translation"


@dataclass(frozen=True)
class ChainOptions(MethodOptions):
    """Setting of the methods that train a field."""

    chain_weight: float = option(
        1.0, ge=0, le=float("inf"), help="Weight of the field's loss.", advice="NART-CRF uses 1."
    )


@dataclass(frozen=True)
class CRFOptions(ChainOptions, MaskedTargetOptions):
    """Settings of NART-CRF."""

    mask_policy: str = option("full", choices=("uniform", "full"), help="Distribution of masks: uniform or full.")
    token_weight: float = option(
        0.5,
        ge=0,
        le=float("inf"),
        help="Weight of the cross-entropy of each token alone.",
        advice="NART-CRF uses 0.5.",
    )
    label_smoothing: float = option(
        0.1, ge=0, le=0.999, help="Smoothing of the token loss, in [0, 1).", advice="fairseq uses 0.1."
    )


class Chains(MaskedTargets):
    """What the methods of models with a field share: its loss."""

    config: CMLMCRFConfig

    def chain_loss(
        self, run: Run, batch: MaskedBatch, hidden_states: torch.Tensor, tokens: torch.Tensor, items: Items
    ) -> Loss:
        """Loss of the field at masked positions, whose targets are those of `tokens` (B, T)."""
        # A reference token that is the mask itself has no label: it stays what it is.
        is_learnt = (batch["decoder_input_ids"] == self.config.mask_token_id) & (batch["labels"] != -100)
        network = cast(CMLMCRFForConditionalGeneration, run.network)
        with run.autocast():
            return crf_loss(
                run.vocabulary(hidden_states[is_learnt]),
                tokens,
                is_learnt,
                batch["decoder_attention_mask"].sum(dim=1),
                lambda candidates: network.crf_head(candidates, hidden_states),
                num_candidates=self.config.crf_beam_size,
                suppressed_ids=network.suppressed_token_ids(),
                num_items=items["tokens"],
            )


class CRF(Chains):
    """
    −log of the probability that a bigram field gives the masked tokens together, plus their cross-entropy alone.

    Source: Sun et al. 2019 (arXiv 1910.11555), §3, where all tokens are masked; with `mask_policy: uniform` the model
    is a CMLM that can also refine.
    """

    paper = "Sun et al. 2019 (arXiv 1910.11555)"
    families = ("cmlm_crf",)
    one_pass = True
    Options = CRFOptions
    published = {
        "crf_teacher": {
            "model_type": Sourced("cmlm_crf", _CRF_RECIPE),
            "token_weight": Sourced(0.5, "fairseq, nacrf_transformer: word_ins_loss_factor"),
            "length_weight": Sourced(0.1, "fairseq, nacrf_transformer: length_loss_factor"),
            "label_smoothing": Sourced(0.1, _CRF_RECIPE),
            "learning_rate": Sourced(5e-4, _CRF_RECIPE),
            "warmup_steps": Sourced(10_000, _CRF_RECIPE),
            "max_steps": Sourced(300_000, _CRF_RECIPE),
            "dropout": Sourced(0.3, _CRF_RECIPE),
        }
    }

    def loss(self, run: Run, batch: MaskedBatch, items: Items) -> Loss:
        """Chain, token and length loss of one batch."""
        outputs, is_masked = self.forward(run, batch)
        hidden_states = outputs.decoder_last_hidden_state
        token = self.token_loss(run, batch, hidden_states, is_masked, items)
        targets = torch.where(batch["labels"] != -100, batch["labels"], batch["decoder_input_ids"])
        chain = self.chain_loss(run, batch, hidden_states, targets, items)
        total = self.options.token_weight * token.total + self.options.chain_weight * chain.total
        loss = Loss(total, {**token.parts, **chain.parts})
        return self.add_length_loss(loss, outputs.length_logits, batch, items)
