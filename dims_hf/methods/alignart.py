# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""AligNART: words of the target from source states that are arranged as a word alignment says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import torch

from dims_hf.data.word_alignment import WordAligner
from dims_hf.methods.base import Items, Method, MethodOptions, Run
from dims_hf.methods.masks import special_ids
from dims_hf.methods.options import option
from dims_hf.models import AligNARTConfig
from dims_hf.models.links import split_links
from dims_hf.models.masking import find_content
from dims_hf.models.modeling_alignart import alignment_losses
from dims_hf.objectives import Loss, cmlm_loss
from dims_hf.objectives.reduction import divide_by_items


if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class AligNARTOptions(MethodOptions):
    """Settings of AligNART; the weights are the paper's."""

    copy_weight: float = option(
        0.5, ge=0, le=float("inf"), help="Weight of the loss of copies.", advice="The paper uses 0.5."
    )
    order_weight: float = option(
        0.5, ge=0, le=float("inf"), help="Weight of the loss of their order.", advice="The paper uses 0.5."
    )
    join_weight: float = option(
        0.5, ge=0, le=float("inf"), help="Weight of the loss of joints.", advice="The paper uses 0.5."
    )
    label_smoothing: float = option(
        0.1, ge=0, le=0.999, help="Smoothing of the loss of words, in [0, 1).", advice="Use 0.1."
    )
    alignment_iterations: int = option(5, ge=1, help="Iterations of EM of the word aligner.")
    diagonal_tension: float = option(
        4.0, ge=0, le=float("inf"), help="How strongly alignments prefer the diagonal; 0 = IBM Model 1."
    )


class LinkedBatch(TypedDict):
    """
    `input_ids`, `attention_mask` (B, S), `labels` (B, T; whole targets, then -100), `decoder_attention_mask` (B, T),
    `links` (B, T - 2, S; True where a target word is aligned to a source token).
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor
    decoder_attention_mask: torch.Tensor
    links: torch.Tensor


class AligNART(Method):
    """
    Cross-entropy of words, and of the three steps of the word alignment: copies, order, joints.

    Alignments are learnt from the training pairs themselves before the first update (`WordAligner`); a target word
    without a link is aligned to the source's `<s>`. The decoder and each step learn from the given alignment.

    Source: Song et al. 2021 (arXiv 2109.06481), §3; its alignments are from an external aligner.
    """

    paper = "Song et al. 2021 (arXiv 2109.06481)"
    families = ("alignart",)
    one_pass = True
    has_accuracy = False
    items = ("tokens", "sources", "places", "joints")
    Options = AligNARTOptions
    config: AligNARTConfig
    aligner: WordAligner | None = None

    def check(self, dataset: Dataset) -> None:
        """
        Learns the word aligner.

        Raises:
            ValueError: for a corpus without words on both sides.
        """
        if "labels" not in dataset.column_names:
            raise ValueError("Alignments need translations. Train on pairs.")
        rows = [[self._words(row) for row in list(dataset[name])] for name in ("input_ids", "labels")]
        self.aligner = WordAligner(
            *rows, num_iterations=self.options.alignment_iterations, tension=self.options.diagonal_tension
        )

    def _words(self, row: list[int]) -> list[int]:
        closed = {*special_ids(self.config), -100}
        return [token for token in row if token not in closed]

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> LinkedBatch:
        """Sources, targets, and the links between them."""
        if self.aligner is None:
            raise ValueError("The word aligner has learnt nothing yet. Give the trainer a train_dataset.")
        labels, source = batch["labels"], batch["input_ids"]
        links = torch.zeros(len(labels), max(labels.shape[1] - 2, 1), source.shape[1], dtype=torch.bool)
        is_word = find_content(labels, (*special_ids(self.config), -100))
        is_source = find_content(source, special_ids(self.config))
        for row in range(len(labels)):
            places = is_source[row].nonzero().squeeze(1)
            found = self.aligner.align(source[row][places].tolist(), labels[row][is_word[row]].tolist())
            links[row, : len(found)] = self._place_links(torch.from_numpy(found), places, source.shape[1])
        return LinkedBatch(
            input_ids=source,
            attention_mask=batch["attention_mask"],
            labels=labels,
            decoder_attention_mask=labels != -100,
            links=links.to(labels.device),
        )

    def _place_links(self, found: torch.Tensor, places: torch.Tensor, width: int) -> torch.Tensor:
        """Links (N, width) of source positions; at most `max_copies` of each, and `<s>` for words without any."""
        placed = torch.zeros(len(found), width, dtype=torch.bool)
        placed[:, places.cpu()] = found
        # the first target words keep their links
        placed &= placed.cumsum(dim=0) <= self.config.max_copies
        # column 0 is the source's `<s>`
        placed[:, 0] |= ~placed.any(dim=1)
        return placed

    def count(self, batch: LinkedBatch) -> dict[str, int]:
        """Target words, source tokens of sentences that have any, places of their copies, and joints between them."""
        steps = split_links(batch["links"])
        has_links = steps.lengths > 0
        words = find_content(batch["labels"], (*special_ids(self.config), -100))
        return {
            "tokens": int(words.sum()),
            "sources": int((batch["attention_mask"].ne(0) & has_links.unsqueeze(1)).sum()),
            "places": int(steps.lengths.sum()),
            "joints": int((steps.lengths - 1).clamp(min=0).sum()),
        }

    def loss(self, run: Run, batch: LinkedBatch, items: Items) -> Loss:
        """Loss of words and of the alignment of one batch."""
        labels, options = batch["labels"], self.options
        # `<s>`, as many words as the longest sentence has (at least one), `</s>`
        width = max(int(batch["links"].any(dim=2).sum(dim=1).max()), 1) + 2
        outputs = run.model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            links=batch["links"],
            logits_positions=torch.zeros(len(labels), width, dtype=torch.bool, device=labels.device),
        )
        is_word = find_content(labels, (*special_ids(self.config), -100))
        with run.autocast():
            token = cmlm_loss(
                run.vocabulary(outputs.decoder_last_hidden_state[:, : labels.shape[1]][is_word]),
                labels[is_word],
                label_smoothing=options.label_smoothing,
                num_items=items["tokens"],
            )
        sums, _ = alignment_losses(
            outputs, split_links(batch["links"]), self.config.max_copies, batch["attention_mask"]
        )
        means = [divide_by_items(part, items[name]) for part, name in zip(sums, ("sources", "places", "joints"))]
        weights = (options.copy_weight, options.order_weight, options.join_weight)
        total = token.total + sum(weight * mean for weight, mean in zip(weights, means))
        named = zip(("copies", "order", "joints"), means)
        return Loss(total, {"token": token.parts["token"], **{name: mean.detach() for name, mean in named}})
