# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Insertion Transformer: for every gap of what is left of a target, its middle word first, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch

from dims_hf.methods.base import Items, MethodOptions, Run, Sourced
from dims_hf.methods.edits import EditBatch, Edits
from dims_hf.methods.options import option
from dims_hf.methods.published import ADAM, CMLM_RECIPE
from dims_hf.models import InsertionForConditionalGeneration
from dims_hf.models.editing import count_gaps, delete_tokens
from dims_hf.objectives import Loss
from dims_hf.objectives.reduction import divide_by_items


@dataclass(frozen=True)
class InsertionOptions(MethodOptions):
    """Settings of the Insertion Transformer."""

    tree_temperature: float | None = option(
        1.0,
        gt=0,
        help="τ: how strongly the middle word of a gap is preferred; none = all words of a gap alike.",
        advice="The paper tries 0.5, 1 and 2.",
    )


def weigh_words(counts: torch.Tensor, places: torch.Tensor, temperature: float | None) -> torch.Tensor:
    """
    Weight of each word of a gap: ∝ exp(−|i − (L − 1) / 2| / τ) for the i-th of L, so that middles come first and a
    sentence grows as a balanced tree; all alike without τ.

    Source: Stern et al. 2019 (arXiv 1902.03249), eq. 12–14. fairseq's code is off centre for spans outside its table.

    Args:
        counts (`torch.LongTensor` of shape `(M,)`): words L of each gap.
        places (`torch.LongTensor` of shape `(K,)`): i, 0 … K − 1.
        temperature (`float`, *optional*): τ.

    Returns:
        `torch.Tensor` of shape `(M, K)`; a row sums to 1, or to 0 where there are no words.
    """
    length = counts.unsqueeze(1)
    distance = (places - (length - 1) / 2).abs()
    scores = torch.zeros_like(distance) if temperature is None else -distance / temperature
    weights = scores.masked_fill(places >= length, -torch.inf).softmax(dim=1)
    return weights.nan_to_num(0.0)


class Insertion(Edits):
    """
    Cross-entropy of each gap's words, those in its middle weighted most, or of nothing where no word is missing; a
    mean over a target's gaps, then over targets. What is left of a target has 0 … N of its N tokens, their number
    uniform.

    A mean over all gaps of a batch, as in fairseq, counts a target as often as it has gaps: most are then those of
    nearly whole targets, which get nothing, and translations end early.

    Source: Stern et al. 2019 (arXiv 1902.03249), §4.1, eq. 14.
    """

    paper = "Stern et al. 2019 (arXiv 1902.03249)"
    families = ("insertion",)
    has_accuracy = False
    items = ("targets",)
    keeps_all = True
    Options = InsertionOptions
    published = {
        "insertion_teacher": {
            **ADAM,
            "model_type": Sourced("insertion", CMLM_RECIPE),
            "learning_rate": Sourced(5e-4, CMLM_RECIPE),
            "warmup_steps": Sourced(10_000, CMLM_RECIPE),
            "max_steps": Sourced(300_000, CMLM_RECIPE),
            "max_tokens_per_batch": Sourced(8000, CMLM_RECIPE),
            "dropout": Sourced(0.3, CMLM_RECIPE),
            "tree_temperature": Sourced(None, "fairseq, insertion_transformer: label-tau is left out"),
        }
    }

    def count(self, batch: EditBatch) -> dict[str, int]:
        """Targets that have words."""
        return {"targets": int(batch["has_words"].sum())}

    def loss(self, run: Run, batch: EditBatch, items: Items) -> Loss:
        """Mean loss of the gaps of each target of one batch, over the targets of the update."""
        pad = self.config.pad_token_id
        (tokens,) = delete_tokens(~batch["is_kept"], (batch["decoder_input_ids"], pad))
        is_token = tokens != pad
        outputs = run.model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            decoder_input_ids=tokens,
            decoder_attention_mask=is_token,
            logits_positions=torch.zeros_like(is_token),
        )
        is_gap = is_token[:, 1:] & batch["has_words"].unsqueeze(1)
        network = cast(InsertionForConditionalGeneration, run.network)
        states = network.gap_states(outputs.decoder_last_hidden_state, is_token)[:, :-1][is_gap]
        words, weights = self.find_words(batch, is_gap)
        # 1 / gaps of the target, at each of its gaps
        weights = weights / is_gap.sum(dim=1, keepdim=True).expand_as(is_gap)[is_gap].unsqueeze(1)
        with run.autocast():
            picked = run.vocabulary(states).pick(words)
        total = divide_by_items(-(picked * weights.to(picked.dtype)).sum(), items["targets"])
        return Loss(total, {"insertion": total.detach()})

    def find_words(self, batch: EditBatch, is_gap: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Words (M, K) of the M gaps, `pad_token_id` for nothing, and their weights (M, K), which sum to 1."""
        is_token, is_kept = batch["decoder_attention_mask"], batch["is_kept"]
        counts, gap = count_gaps(is_kept, is_token)
        is_missing = is_token & ~is_kept
        widest = max(int(counts.max()), 1)
        # A missing token's place in its gap: how many are missing since the last one that stays.
        place = is_missing.long().cumsum(dim=1) - 1
        # missing tokens in the gaps before
        first = counts.cumsum(dim=1) - counts
        place = place - first.gather(1, gap.clamp(0, first.shape[1] - 1))
        words = torch.full((*counts.shape, widest), self.config.pad_token_id, device=counts.device)
        rows, columns = is_missing.nonzero(as_tuple=True)
        words[rows, gap[rows, columns], place[rows, columns]] = batch["decoder_input_ids"][rows, columns]
        weights = weigh_words(
            counts[is_gap], torch.arange(widest, device=counts.device), self.options.tree_temperature
        )
        is_empty = counts[is_gap] == 0
        # the word is padding, the sign for nothing
        weights[is_empty, 0] = 1.0
        return words[is_gap], weights
