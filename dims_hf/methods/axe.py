# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""AXE: a one-pass model that is trained along the cheapest monotone alignment of its positions and the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from dims_hf.methods.base import Batch, Items, Sourced
from dims_hf.methods.full_masks import Content, FullMaskOptions, FullMasks
from dims_hf.methods.options import option
from dims_hf.models import NATConfig
from dims_hf.objectives import Loss, axe_loss, length_loss


_AXE = "Ghazvininejad et al. 2020a (arXiv 2004.01655)"


@dataclass(frozen=True)
class AXEOptions(FullMaskOptions):
    """Settings of AXE training."""

    skip_penalty: float = option(
        1.0,
        ge=1,
        le=1000,
        help="Penalty δ of a target token that no position writes.",
        advice="The paper tunes it in 1 … 5.",
    )
    length_factor: float = option(
        1.05,
        ge=1,
        le=2,
        help="What the length predictor learns, per target token: positions to spare for empty tokens.",
        advice="The paper tunes it in 1.05 … 1.1.",
    )


class AXE(FullMasks):
    """
    Aligned cross-entropy: positions may write the empty token, and targets may be skipped at a price.

    Trained from masks alone at as many positions as there are tokens; the model's tokenizer needs an empty token,
    which decoding drops. The paper multiplies predicted lengths by λ in decoding; here the length predictor learns the
    multiplied lengths, so that decoding needs no rule of its own. There is no label smoothing.

    Source: Ghazvininejad et al. 2020a (arXiv 2004.01655), §3.
    """

    paper = _AXE
    families = ("cmlm",)
    empty_token = True
    Options = AXEOptions
    published = {
        "axe_teacher": {
            "method": Sourced("axe", _AXE),
            "skip_penalty": Sourced(1.0, f"{_AXE}: tuned in 1 … 5 on validation; the smallest of them"),
            "length_factor": Sourced(1.05, f"{_AXE}: λ, tuned in 1.05 … 1.1; the smallest of them"),
        }
    }

    def __init__(self, options: Any, config: NATConfig, *, num_updates: int = -1):
        super().__init__(options, config, num_updates=num_updates)
        if config.empty_token_id is None:
            raise ValueError(
                "The model has no empty token, which AXE aligns with. Train one from scratch with method: axe, or set "
                "empty_token_id in its config.json to the id of a token that no target has."
            )
        self._empty = config.empty_token_id

    def compare(self, content: Content, items: Items) -> Loss:
        """Cross-entropy along the best alignments."""
        return axe_loss(
            content.vocabulary,
            content.targets,
            content.lengths,
            content.lengths,
            empty_token_id=self._empty,
            skip_penalty=self.options.skip_penalty,
            num_items=items["tokens"],
        )

    def add_length_loss(self, token: Loss, length_logits: torch.Tensor, batch: Batch, items: Items) -> Loss:
        """Adds the weighted cross-entropy of the predictor of the multiplied lengths."""
        num_tokens = (batch["decoder_attention_mask"].sum(dim=1) - 2).clamp(min=0)
        lengths = (num_tokens * self.options.length_factor).round().long() + 2
        longest = self.config.max_target_length - 1
        length = length_loss(length_logits, lengths.clamp(max=longest), num_items=items["sentences"])
        return Loss(token.total + self.options.length_weight * length.total, {**token.parts, **length.parts})
