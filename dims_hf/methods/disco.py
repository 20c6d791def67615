# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""DisCo: every token of a target is predicted in one pass, each from a random set of the others."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dims_hf.methods.base import Batch, MethodOptions, Run, Sourced
from dims_hf.methods.masked_targets import MaskedOutput, MaskedTokens
from dims_hf.methods.masks import MaskedBatch, mask_batch, sample_contexts
from dims_hf.methods.options import option


_DISCO_RECIPE = "released DisCo code, README"


@dataclass(frozen=True)
class DisCoOptions(MethodOptions):
    """Settings of DisCo training."""

    label_smoothing: float = option(
        0.1, ge=0, le=0.999, help="Smoothing of the token loss, in [0, 1).", advice="DisCo uses 0.1."
    )
    length_weight: float = option(
        0.1, ge=0, le=float("inf"), help="Weight of the length loss.", advice="The reference uses 0.1."
    )


class ContextBatch(MaskedBatch):
    """[`MaskedBatch`] whose targets are whole, with `visibility` (B, T, T): which tokens each position may see."""

    visibility: torch.Tensor


class DisCo(MaskedTokens):
    """
    Label-smoothed cross-entropy of all tokens, each given 0 … N − 1 random others, their number uniform.

    A sentence of N tokens gives N predictions, where masks give as many as are masked. The published code divides the
    length loss by tokens; here it is a mean over sentences, with a weight.

    Source: Kasai et al. 2020 (arXiv 2001.05136), §2.
    """

    paper = "Kasai et al. 2020 (arXiv 2001.05136)"
    families = ("disco",)
    Options = DisCoOptions
    published = {
        "disco_teacher": {
            "model_type": Sourced("disco", _DISCO_RECIPE),
            "adam_beta1": Sourced(0.9, _DISCO_RECIPE),
            "adam_beta2": Sourced(0.999, _DISCO_RECIPE),
            "adam_epsilon": Sourced(1e-6, _DISCO_RECIPE),
            "learning_rate": Sourced(5e-4, _DISCO_RECIPE),
            "warmup_steps": Sourced(10_000, _DISCO_RECIPE),
            "weight_decay": Sourced(0.01, _DISCO_RECIPE),
            "max_steps": Sourced(300_000, _DISCO_RECIPE),
            "max_tokens_per_batch": Sourced(8192, _DISCO_RECIPE),
            "dropout": Sourced(0.2, f"{_DISCO_RECIPE}, English-German"),
            "label_smoothing": Sourced(0.1, _DISCO_RECIPE),
            "lr_scheduler_type": Sourced("fairseq_inverse_sqrt", _DISCO_RECIPE),
        }
    }

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> ContextBatch:
        """Whole targets, and a context of each position."""
        masked = mask_batch(batch, self.config, policy="full", keys=keys)
        is_content = masked["labels"] != -100
        # whole again; a reference token that is the mask itself stays one
        tokens = torch.where(is_content, masked["labels"], masked["decoder_input_ids"])
        masked["decoder_input_ids"] = tokens
        return ContextBatch(**masked, visibility=sample_contexts(is_content, keys))

    def forward(self, run: Run, batch: Batch, **options: bool) -> tuple[MaskedOutput, torch.Tensor]:
        """Forward pass without any logits, and the positions (B, T) that are learnt: all content."""
        is_learnt = batch["labels"] != -100
        outputs = run.model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            decoder_input_ids=batch["decoder_input_ids"],
            decoder_attention_mask=batch["decoder_attention_mask"],
            visibility=batch["visibility"],
            logits_positions=torch.zeros_like(is_learnt),
            return_length_logits=True,
            **options,
        )
        return outputs, is_learnt
