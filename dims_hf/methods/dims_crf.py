# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""DiMS of models with a bigram field: the student's field learns the sequence that the teacher arrives at."""

from __future__ import annotations

from dataclasses import dataclass

from dims_hf.methods.base import Items, Run
from dims_hf.methods.crf import ChainOptions, Chains
from dims_hf.methods.dims import DiMS, DiMSOptions
from dims_hf.methods.masks import MaskedBatch
from dims_hf.models.modeling_translation import NATForConditionalGeneration
from dims_hf.objectives import Loss


@dataclass(frozen=True)
class DiMSCRFOptions(ChainOptions, DiMSOptions):
    """Settings of DiMS with a field."""


class DiMSCRF(Chains, DiMS):
    """
    DiMS, plus the loss of the student's field on the tokens of the teacher's last pass.

    The teacher may be a CMLM of the same width, or a model with a field of its own, which its passes do not use.

    Source: §3 of Norouzi et al. 2023 (arXiv 2206.02999) and Sun et al. 2019 (arXiv 1910.11555); their sum is ours.
    """

    paper = "Norouzi et al. 2023 (arXiv 2206.02999), with the field of Sun et al. 2019 (arXiv 1910.11555)"
    families = ("cmlm_crf",)
    Options = DiMSCRFOptions
    published = {}

    def loss(self, run: Run, batch: MaskedBatch, items: Items, teacher: NATForConditionalGeneration) -> Loss:
        """DiMS, chain and length loss of one batch."""
        labels = self.roll_out(run, batch, teacher, batch["decoder_input_ids"])
        outputs, is_masked = self.forward(run, batch)
        token = self.label_loss(run, batch, items, teacher, labels, outputs.decoder_last_hidden_state[is_masked])
        chain = self.chain_loss(run, batch, outputs.decoder_last_hidden_state, labels.tokens, items)
        total = token.total + self.options.chain_weight * chain.total
        return self.add_length_loss(Loss(total, {**token.parts, **chain.parts}), outputs.length_logits, batch, items)
