# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Bag of n-grams: a one-pass model that is trained to write the target's n-grams, wherever they stand."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dims_hf.methods.base import Batch, Items, Run, Sourced
from dims_hf.methods.full_masks import Content, FullMaskOptions, FullMasks, pack_content
from dims_hf.methods.masks import EVALUATION_STEP, MaskedBatch, read_ratio
from dims_hf.methods.options import option
from dims_hf.objectives import Loss, bag_of_ngrams_loss, cmlm_loss


_BON_RECIPE = "released BoN-NAT code, model.py and README"


@dataclass(frozen=True)
class BagOfNgramsOptions(FullMaskOptions):
    """Settings of bag-of-n-grams training."""

    ngram_size: int = option(2, ge=1, le=8, help="Tokens of an n-gram.", advice="The paper uses 2.")
    cross_entropy_weight: float = option(
        0.0,
        ge=0,
        le=1,
        help="Weight α of the cross-entropy, the n-grams having 1 − α; 0 in fine-tuning.",
        advice="Joint training uses 0.1.",
    )
    cross_entropy_steps: int = option(
        0,
        ge=0,
        help="Updates at the beginning with three times that weight, at most 1.",
        advice="Joint training uses 30000.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cross_entropy_steps and not self.cross_entropy_weight:
            raise ValueError("cross_entropy_steps has no effect without a weight. Set cross_entropy_weight.")

    def weight(self, step: int) -> float:
        """α at an optimiser step; in validation, that of the end."""
        is_early = step != EVALUATION_STEP and step < self.cross_entropy_steps
        return min(1.0, 3 * self.cross_entropy_weight) if is_early else self.cross_entropy_weight


class WeightedBatch(MaskedBatch):
    """[`MaskedBatch`], fully masked, with `cross_entropy_weight` (B,)."""

    cross_entropy_weight: torch.Tensor


class BagOfNgrams(FullMasks):
    """
    Expected n-grams of what the model writes against those of the target; α · cross-entropy + (1 − α) · n-grams.

    With α = 0, the default, it is a fine-tuning stage of a CMLM or a student of DiMS; from scratch, α = 0.1. Means are
    over tokens for the cross-entropy, which is not smoothed, and over sentences for the n-grams.

    Source: Shao et al. 2020 (arXiv 1911.09320), §3.
    """

    paper = "Shao et al. 2020 (bag of n-grams, arXiv 1911.09320)"
    families = ("cmlm", "cmlmc")
    Options = BagOfNgramsOptions
    published = {
        "bag_of_ngrams_joint_teacher": {
            "method": Sourced("bag_of_ngrams", _BON_RECIPE),
            "ngram_size": Sourced(2, _BON_RECIPE),
            "cross_entropy_weight": Sourced(0.1, f"{_BON_RECIPE}: BoN-Joint"),
            "cross_entropy_steps": Sourced(30_000, f"{_BON_RECIPE}: three times the weight until then"),
        },
        "bag_of_ngrams_teacher": {
            "method": Sourced("bag_of_ngrams", _BON_RECIPE),
            "ngram_size": Sourced(2, _BON_RECIPE),
            "cross_entropy_weight": Sourced(0.0, f"{_BON_RECIPE}: BoN-FT, from a trained model"),
        },
    }

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> WeightedBatch:
        """Fully masked targets, and how much cross-entropy counts."""
        weight = torch.full(keys.shape, self.options.weight(step), device=keys.device)
        return WeightedBatch(**super().prepare(batch, keys, step), cross_entropy_weight=weight)

    def loss(self, run: Run, batch: Batch, items: Items) -> Loss:
        """N-gram, token and length loss of one batch."""
        weight = read_ratio(batch["cross_entropy_weight"])
        outputs, is_masked = self.forward(run, batch)
        hidden_states, labels = outputs.decoder_last_hidden_state, batch["labels"]
        with run.autocast():
            loss = self.compare(pack_content(run, hidden_states, labels), items)
            if weight:
                token = cmlm_loss(
                    run.vocabulary(hidden_states[is_masked]),
                    labels[is_masked],
                    label_smoothing=0.0,
                    num_items=items["tokens"],
                )
                total = weight * token.total + (1 - weight) * loss.total
                loss = Loss(total, {**loss.parts, "token": token.parts["token"]})
        return self.add_length_loss(loss, outputs.length_logits, batch, items)

    def compare(self, content: Content, items: Items) -> Loss:
        """Minus the share of the targets' n-grams that the model is expected to write."""
        return bag_of_ngrams_loss(*content, n=self.options.ngram_size, num_items=items["sentences"])
