# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Iterative refinement: to improve one's own last prediction, or a corrupted target."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dims_hf.methods.base import Items, MethodOptions, Run, Sourced
from dims_hf.methods.masked_targets import MaskedOutput, MaskedTargets
from dims_hf.methods.masks import MaskedBatch, corrupt_tokens, draw_events, mask_batch
from dims_hf.methods.options import option
from dims_hf.methods.published import ADAM, CMLM_RECIPE
from dims_hf.objectives import Loss, cmlm_loss


@dataclass(frozen=True)
class RefineOptions(MethodOptions):
    """Settings of iterative refinement."""

    unroll_steps: int = option(4, ge=1, help="Passes of an update, each with a loss.", advice="Lee et al. use 4.")
    denoising_ratio: float = option(
        0.5, ge=0, le=1, help="How often a pass reads a corrupted target instead of the last prediction."
    )
    corruption_rate: float = option(
        0.33, ge=0, le=1, help="Share of a target's words that are corrupted.", advice="fairseq uses 0.33."
    )
    label_smoothing: float = option(
        0.1, ge=0, le=0.999, help="Smoothing of the token loss, in [0, 1).", advice="fairseq uses 0.1."
    )
    length_weight: float = option(
        0.1, ge=0, le=float("inf"), help="Weight of the length loss.", advice="The reference uses 0.1."
    )


class RefineBatch(MaskedBatch):
    """[`MaskedBatch`], fully masked, with `keys` (B,)."""

    keys: torch.Tensor


class Refinement(MaskedTargets):
    """
    Mean over several passes of the cross-entropy of all tokens. The first pass reads masks; each later one reads the
    model's last prediction, without a gradient, or with `denoising_ratio` the target after corruption: some words are
    repeated over the next, replaced by a random word, or swapped with the next. Validation reads predictions alone.

    Source: Lee et al. 2018 (arXiv 1802.06901), §3 and §4.2; with one decoder, a draw for each sentence and the rate of
    fairseq's code. Published is the sum over passes.
    """

    paper = "Lee et al. 2018 (arXiv 1802.06901)"
    families = ("refine",)
    Options = RefineOptions
    published = {
        "refine_teacher": {
            **ADAM,
            "model_type": Sourced("refine", CMLM_RECIPE),
            "learning_rate": Sourced(5e-4, CMLM_RECIPE),
            "warmup_steps": Sourced(10_000, CMLM_RECIPE),
            "max_steps": Sourced(300_000, CMLM_RECIPE),
            "max_tokens_per_batch": Sourced(8000, CMLM_RECIPE),
            "label_smoothing": Sourced(0.1, CMLM_RECIPE),
            "dropout": Sourced(0.3, CMLM_RECIPE),
            "unroll_steps": Sourced(4, f"{CMLM_RECIPE}: train-step 4"),
            "denoising_ratio": Sourced(0.5, f"{CMLM_RECIPE}: dae-ratio 0.5"),
            "corruption_rate": Sourced(0.33, "fairseq, iterative_nonautoregressive_transformer"),
        }
    }

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> RefineBatch:
        """Fully masked targets, and the randomness of later passes."""
        return RefineBatch(**mask_batch(batch, self.config, policy="full", keys=keys), keys=keys)

    def forward_tokens(self, run: Run, batch: MaskedBatch, tokens: torch.Tensor) -> MaskedOutput:
        """A pass that reads `tokens` (B, T), without any logits."""
        return run.model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            decoder_input_ids=tokens,
            decoder_attention_mask=batch["decoder_attention_mask"],
            logits_positions=torch.zeros_like(tokens, dtype=torch.bool),
            return_length_logits=True,
        )

    def loss(self, run: Run, batch: RefineBatch, items: Items) -> Loss:
        """Token loss of all passes and length loss of one batch."""
        labels, tokens = batch["labels"], batch["decoder_input_ids"]
        is_content = labels != -100
        losses: list[Loss] = []
        length_logits: torch.Tensor | None = None
        for step in range(self.options.unroll_steps):
            outputs = self.forward_tokens(run, batch, tokens)
            # of the first pass: the source is the same in all of them
            length_logits = outputs.length_logits if length_logits is None else length_logits
            vocabulary = run.vocabulary(outputs.decoder_last_hidden_state[is_content])
            with run.autocast():
                losses.append(
                    cmlm_loss(
                        vocabulary,
                        labels[is_content],
                        label_smoothing=self.options.label_smoothing,
                        num_items=items["tokens"],
                    )
                )
                predictions = vocabulary.predict(run.network.suppressed_token_ids())
            # predictions carry no gradient: each pass learns from its own loss alone
            tokens = self.next_tokens(batch, tokens.masked_scatter(is_content, predictions), step, run)
        assert length_logits is not None  # there is at least one pass
        parts = {name: torch.stack([loss.parts[name] for loss in losses]).mean() for name in losses[0].parts}
        token = Loss(torch.stack([loss.total for loss in losses]).mean(), parts)
        return self.add_length_loss(token, length_logits, batch, items)

    def next_tokens(self, batch: RefineBatch, predicted: torch.Tensor, step: int, run: Run) -> torch.Tensor:
        """What the pass after `step` reads (B, T): what was predicted, or corrupted targets."""
        if not run.network.training:
            return predicted
        is_content = batch["labels"] != -100
        targets = torch.where(is_content, batch["labels"], predicted)
        corrupted = corrupt_tokens(
            targets,
            is_content,
            batch["keys"],
            rate=self.options.corruption_rate,
            step=step,
            vocab_size=self.config.vocab_size,
            closed_ids=run.network.suppressed_token_ids(),
        )
        is_denoising = draw_events(batch["keys"], self.options.denoising_ratio, step)
        return torch.where(is_denoising.unsqueeze(1), corrupted, predicted)
