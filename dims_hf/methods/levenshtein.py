# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Levenshtein Transformer: to insert what was left out of a target, and to delete what it fills in wrongly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn import functional as F

from dims_hf.methods.base import Items, MethodOptions, Run, Sourced
from dims_hf.methods.edits import EditBatch, Edits
from dims_hf.methods.options import option
from dims_hf.methods.published import ADAM, CMLM_RECIPE
from dims_hf.models import LevenshteinConfig
from dims_hf.models.editing import count_gaps, delete_tokens
from dims_hf.models.edits import edit_oracle
from dims_hf.objectives import Loss, cmlm_loss


@dataclass(frozen=True)
class LevenshteinOptions(MethodOptions):
    """Settings of Levenshtein training; defaults as in fairseq."""

    label_smoothing: float = option(
        0.1, ge=0, le=0.999, help="Smoothing of the loss of words, in [0, 1).", advice="fairseq uses 0.1."
    )
    insertion_smoothing: float = option(
        0.01, ge=0, le=0.999, help="Smoothing of the loss of counts, in [0, 1).", advice="fairseq uses 0.01."
    )


class EditOutput(Protocol):
    """Of a pass without the vocabulary: last decoder states (B, T, D), logits of deletions and insertions."""

    decoder_last_hidden_state: torch.Tensor
    deletion_logits: torch.Tensor
    insertion_logits: torch.Tensor


class Levenshtein(Edits):
    """
    Three lessons in each update, of equal weight: how many tokens are missing in each gap of a target of which a
    random part is left; which words they are; and which words are wrong in what the model itself has filled in.

    The part that is left has ⌊U · N⌋ of N tokens. Wrong words are those that a shortest edit script to the target
    deletes (`edit_oracle`).

    Source: Gu et al. 2019 (arXiv 1905.11006), §4, as fairseq's code does it: the paper's mixture with sequences after
    the model's own deletions is left out.
    """

    paper = "Gu et al. 2019 (arXiv 1905.11006)"
    families = ("levenshtein",)
    has_accuracy = False
    items = ("gaps", "missing", "tokens")
    Options = LevenshteinOptions
    config: LevenshteinConfig
    published = {
        "levenshtein_teacher": {
            **ADAM,
            "model_type": Sourced("levenshtein", CMLM_RECIPE),
            "learning_rate": Sourced(5e-4, CMLM_RECIPE),
            "warmup_steps": Sourced(10_000, CMLM_RECIPE),
            "max_steps": Sourced(300_000, CMLM_RECIPE),
            "max_tokens_per_batch": Sourced(8000, CMLM_RECIPE),
            "label_smoothing": Sourced(0.1, CMLM_RECIPE),
            "insertion_smoothing": Sourced(0.01, "fairseq, levenshtein_transformer: mask_ins, ls 0.01"),
            "dropout": Sourced(0.3, CMLM_RECIPE),
        }
    }

    def count(self, batch: EditBatch) -> dict[str, int]:
        """Gaps, tokens missing in them, and all words of targets."""
        is_token, is_kept = batch["decoder_attention_mask"], batch["is_kept"]
        words = is_token.sum(dim=1) - self._num_ends(batch)
        missing = (is_token & ~is_kept).sum()
        return {"gaps": self.num_gaps(batch), "missing": int(missing), "tokens": int(words.sum())}

    def _num_ends(self, batch: EditBatch) -> torch.Tensor:
        tokens = batch["decoder_input_ids"]
        is_end = (tokens == self.config.bos_token_id) | (tokens == self.config.eos_token_id)
        return (is_end & batch["decoder_attention_mask"]).sum(dim=1)

    def loss(self, run: Run, batch: EditBatch, items: Items) -> Loss:
        """Losses of counts, words and deletions of one batch."""
        insertion = self._insertion_loss(run, batch, items)
        word, filled = self._word_loss(run, batch, items)
        deletion = self._deletion_loss(run, batch, filled, items)
        parts = {"insertion": insertion.detach(), "word": word.detach(), "deletion": deletion.detach()}
        return Loss(insertion + word + deletion, parts)

    def _insertion_loss(self, run: Run, batch: EditBatch, items: Items) -> torch.Tensor:
        """How many tokens are missing in each gap of what is left."""
        is_kept, pad = batch["is_kept"], self.config.pad_token_id
        counts, _ = count_gaps(is_kept, batch["decoder_attention_mask"])
        (tokens,) = delete_tokens(~is_kept, (batch["decoder_input_ids"], pad))
        outputs = self._forward(run, batch, tokens, tokens != pad)
        is_gap = (tokens != pad)[:, 1:] & batch["has_words"].unsqueeze(1)
        # a gap that misses more than the head can say learns the most it can
        labels = counts.clamp(max=self.config.max_insertions).masked_fill(~is_gap, -100)
        smoothing = self.options.insertion_smoothing
        return _cross_entropy(outputs.insertion_logits, labels, smoothing) / _at_least_one(items["gaps"])

    def _word_loss(self, run: Run, batch: EditBatch, items: Items) -> tuple[torch.Tensor, torch.Tensor]:
        """The missing words, and targets (B, T) with the model's own words in their places."""
        tokens, is_token = batch["decoder_input_ids"], batch["decoder_attention_mask"]
        is_missing = is_token & ~batch["is_kept"]
        outputs = self._forward(run, batch, tokens.masked_fill(is_missing, self.config.mask_token_id), is_token)
        vocabulary = run.vocabulary(outputs.decoder_last_hidden_state[is_missing])
        with run.autocast():
            loss = cmlm_loss(
                vocabulary,
                tokens[is_missing],
                label_smoothing=self.options.label_smoothing,
                num_items=items["missing"],
            )
            words = vocabulary.predict(run.network.suppressed_token_ids())
        # right or wrong, the model's own words are what it learns to delete
        return loss.total, tokens.masked_scatter(is_missing, words)

    def _deletion_loss(self, run: Run, batch: EditBatch, filled: torch.Tensor, items: Items) -> torch.Tensor:
        """Which of the filled-in words are wrong."""
        is_token = batch["decoder_attention_mask"]
        outputs = self._forward(run, batch, filled, is_token)
        labels = self.find_deletions(filled, batch["decoder_input_ids"], is_token)
        return _cross_entropy(outputs.deletion_logits, labels, 0.0) / _at_least_one(items["tokens"])

    def find_deletions(self, filled: torch.Tensor, targets: torch.Tensor, is_token: torch.Tensor) -> torch.Tensor:
        """
        Labels (B, T) of `filled` (B, T): 1 for words that a shortest script to the target deletes, 0 for others, -100
        for `<s>`, `</s>` and padding.
        """
        labels = torch.full_like(filled, -100)
        for row, length in enumerate(is_token.sum(dim=1).tolist()):
            # `<s>` and `</s>` are never deleted
            inner = slice(1, length - 1)
            deletions, _ = edit_oracle(filled[row, inner], targets[row, inner])
            labels[row, inner] = torch.tensor(deletions, dtype=torch.long, device=labels.device)
        return labels

    def _forward(self, run: Run, batch: EditBatch, tokens: torch.Tensor, is_token: torch.Tensor) -> EditOutput:
        return run.model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            decoder_input_ids=tokens,
            decoder_attention_mask=is_token,
            logits_positions=torch.zeros_like(is_token),
            return_edit_logits=True,
        )


def _cross_entropy(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    return F.cross_entropy(logits.float().flatten(0, -2), labels.flatten(), reduction="sum", label_smoothing=smoothing)


def _at_least_one(count: torch.Tensor | int) -> torch.Tensor | int:
    return count.clamp(min=1) if isinstance(count, torch.Tensor) else max(count, 1)
