# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""n-gram matching for CTC (NMLA): the n-grams that a model is expected to write over all of its alignments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dims_hf.methods.alignments import AlignmentBatch, AlignmentOptions, Alignments, forward_alignment
from dims_hf.methods.base import Batch, Items, Run, Sourced
from dims_hf.methods.options import option
from dims_hf.methods.references import ReferenceBatch, pack_references
from dims_hf.objectives import Loss, Vocabulary, ctc_ngram_loss, imputer_loss


if TYPE_CHECKING:
    import torch
    from datasets import Dataset

_NMLA_RECIPE = "released NMLA-NAT code, README and nat_loss.py"


@dataclass(frozen=True)
class CTCNgramOptions(AlignmentOptions):
    """Settings of n-gram matching for CTC."""

    ngram_size: int = option(2, choices=(1, 2), help="Tokens of an n-gram.", advice="The paper uses 2.")
    ctc_weight: float = option(
        0.0,
        ge=0,
        le=float("inf"),
        help="Weight of the CTC loss beside it.",
        advice="The paper uses 0; try 0.1 where lengths drift.",
    )
    num_references: int = option(
        1,
        ge=1,
        le=100,
        help="Targets of a source that are looked at, at most; their bags of n-grams are averaged.",
        advice="DDRS uses 3.",
    )


class CTCNgrams(Alignments):
    """
    Minus the F1 of expected and true n-grams, over all alignments of fully masked frames.

    A fine-tuning stage of a CTC model, a FullyNAT or a student of `dims_imputer`: alignments of an untrained model
    write nothing. Expected lengths regulate themselves. Targets that no alignment fits are learnt as well, but not by
    the CTC part. With several targets of a source their bags are averaged, as in DDRS.

    Source: Shao and Feng 2022 (arXiv 2210.03953, NMLA); averaged bags Shao et al. 2022 (arXiv 2205.14333), §4.3.
    """

    paper = "Shao and Feng 2022 (NMLA, arXiv 2210.03953)"
    families = ("imputer",)
    one_pass = True
    masks_alone = True
    uses_references = True
    Options = CTCNgramOptions
    published = {
        "nmla_teacher": {
            "model_type": Sourced("imputer", _NMLA_RECIPE),
            "method": Sourced("ctc_ngrams", _NMLA_RECIPE),
            "ngram_size": Sourced(2, _NMLA_RECIPE),
            "learning_rate": Sourced(3e-4, _NMLA_RECIPE),
            "warmup_steps": Sourced(500, _NMLA_RECIPE),
            "max_steps": Sourced(6_000, f"{_NMLA_RECIPE}: updates of 262,144 tokens"),
            "dropout": Sourced(0.1, _NMLA_RECIPE),
            "weight_decay": Sourced(0.01, _NMLA_RECIPE),
            "adam_beta1": Sourced(0.9, _NMLA_RECIPE),
            "adam_beta2": Sourced(0.98, _NMLA_RECIPE),
        }
    }

    def check(self, dataset: Dataset) -> None:
        """Nothing to refuse: n-grams match whether or not the whole target has an alignment."""

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> ReferenceBatch:
        """Fully masked alignments, and the targets of each source."""
        references = pack_references(batch, self._special_ids, self.options.num_references)
        return ReferenceBatch(**super().prepare(batch, keys, step), references=references)

    def loss(self, run: Run, batch: Batch, items: Items) -> Loss:
        """n-gram loss of one batch and, with a weight, its CTC loss."""
        hidden_states = forward_alignment(run.model, batch, batch["decoder_input_ids"])
        with run.autocast():
            vocabulary = run.vocabulary(hidden_states)
            loss = self.match_ngrams(vocabulary, batch, items)
            return loss if not self.options.ctc_weight else self.add_ctc(loss, vocabulary, batch, items)

    def match_ngrams(self, vocabulary: Vocabulary, batch: ReferenceBatch, items: Items) -> Loss:
        """n-gram loss of fully masked frames (B, A) for the targets of each source."""
        references = batch["references"]
        is_token = references != -100
        return ctc_ngram_loss(
            vocabulary,
            references.masked_fill(~is_token, self.config.pad_token_id),
            batch["decoder_attention_mask"].sum(dim=1),
            is_token.sum(dim=2),
            blank_token_id=self.config.blank_token_id,
            n=self.options.ngram_size,
            num_items=items["sentences"],
        )

    def add_ctc(self, loss: Loss, vocabulary: Vocabulary, batch: AlignmentBatch, items: Items) -> Loss:
        """The loss plus the weighted one of the alignments of the first target."""
        ctc = imputer_loss(
            vocabulary,
            *self.targets_of(batch),
            blank_token_id=self.config.blank_token_id,
            num_items=items["frames"],
        )
        parts = {**loss.parts, **ctc.parts, "skipped": ctc.parts["skipped"] / items["sentences"]}
        return Loss(loss.total + self.options.ctc_weight * ctc.total, parts)
