# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Minimum risk for CTC: translations are drawn from the model, and the better ones become likelier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dims_hf.methods.alignments import forward_alignment
from dims_hf.methods.base import Batch, Items, Run, Sourced
from dims_hf.methods.ctc_ngrams import CTCNgramOptions, CTCNgrams
from dims_hf.methods.masks import sample_uniforms
from dims_hf.methods.options import option
from dims_hf.models.alignment import collapse_alignment, lengths_from_mask
from dims_hf.objectives import Loss, Vocabulary, gleu, minimum_risk_loss


if TYPE_CHECKING:
    import torch

_DDRS_RECIPE = "released DDRS-NAT code, reinforcement learning"


@dataclass(frozen=True)
class MinimumRiskOptions(CTCNgramOptions):
    """Settings of minimum risk training."""

    num_references: int = option(
        1,
        ge=1,
        le=100,
        help="Targets of a source that are looked at, at most; the one that a translation matches best counts.",
        advice="DDRS uses 3.",
    )
    num_samples: int = option(
        8,
        ge=2,
        most=1000,
        help="Translations that are drawn for each source.",
        advice="More make the gradient less noisy; 8 to 16 will do.",
    )
    reward_ngram_size: int = option(
        4, ge=1, most=10, help="Longest n-grams that are rewarded.", advice="GLEU and BLEU use 4."
    )
    ngram_weight: float = option(
        0.0,
        ge=0,
        le=float("inf"),
        help="Weight of the n-gram matching loss (ctc_ngrams) beside it.",
        advice="Try 0.5 where the reward alone is too noisy.",
    )


class MinimumRisk(CTCNgrams):
    """
    Minus the expected reward (GLEU) of translations that the model draws from fully masked frames.

    A fine-tuning stage of a trained CTC model, after `ctc_ngrams` as a rule: what a model hardly ever writes is not
    drawn, and so not learnt. The reward looks at whole translations, as BLEU does. With several targets of a source,
    the one that a translation matches best counts.

    Source: Shao et al. 2021 (arXiv 2106.08122), §3.1; its reward for several targets Shao et al. 2022 (arXiv
    2205.14333, DDRS), §4.4. A baseline takes the place of the papers' estimates of what each position is worth.
    """

    paper = "Shao et al. 2021 (arXiv 2106.08122)"
    Options = MinimumRiskOptions
    published = {
        "minimum_risk_teacher": {
            "model_type": Sourced("imputer", _DDRS_RECIPE),
            "method": Sourced("minimum_risk", _DDRS_RECIPE),
            "num_references": Sourced(3, _DDRS_RECIPE),
            "num_samples": Sourced(20, f"{_DDRS_RECIPE}; only the best is learnt there"),
            "learning_rate": Sourced(2e-5, _DDRS_RECIPE),
            "max_steps": Sourced(3_000, _DDRS_RECIPE),
        }
    }

    def loss(self, run: Run, batch: Batch, items: Items) -> Loss:
        """Risk of one batch and, with weights, its n-gram and CTC losses."""
        is_frame = batch["decoder_attention_mask"]
        hidden_states = forward_alignment(run.model, batch, batch["decoder_input_ids"])
        with run.autocast():
            vocabulary = run.vocabulary(hidden_states)
            samples = self.draw(vocabulary, is_frame, batch["keys"])
            loss = minimum_risk_loss(
                vocabulary,
                samples,
                self.reward(samples, batch),
                lengths_from_mask(is_frame),
                num_items=items["sentences"],
            )
            if self.options.ngram_weight:
                ngrams = self.match_ngrams(vocabulary, batch, items)
                loss = Loss(loss.total + self.options.ngram_weight * ngrams.total, {**loss.parts, **ngrams.parts})
            return loss if not self.options.ctc_weight else self.add_ctc(loss, vocabulary, batch, items)

    def draw(self, vocabulary: Vocabulary, is_frame: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Ids (B, A, K) drawn for each frame, blanks at padding; they follow from the keys of their sentences."""
        uniforms = sample_uniforms(is_frame, keys, self.options.num_samples)
        drawn = vocabulary.select(is_frame).sample(uniforms[is_frame])
        samples = drawn.new_full(uniforms.shape, self.config.blank_token_id)
        return samples.index_put((is_frame,), drawn)

    def reward(self, samples: torch.Tensor, batch: Batch) -> torch.Tensor:
        """GLEU (B, K) of what samples (B, A, K) of the batch stand for."""
        references, is_frame = batch["references"], batch["decoder_attention_mask"]
        num_samples = samples.shape[2]
        tokens, lengths = collapse_alignment(
            samples.transpose(1, 2).flatten(0, 1),
            lengths_from_mask(is_frame).repeat_interleave(num_samples),
            blank_token_id=self.config.blank_token_id,
            pad_token_id=self.config.pad_token_id,
        )
        # as wide as the longest: n-grams are compared pair by pair
        tokens = tokens[:, : max(int(lengths.max()), 1)]
        return gleu(
            tokens.view(-1, num_samples, tokens.shape[1]),
            lengths.view(-1, num_samples),
            references,
            (references != -100).sum(dim=2),
            n=self.options.reward_ngram_size,
        )
