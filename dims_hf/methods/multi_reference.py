# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""CTC with several targets of each source (DDRS): at first all of them, in the end the one that is likeliest."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from dims_hf.methods.alignments import AlignmentOptions, Alignments, forward_alignment
from dims_hf.methods.base import Batch, Items, Run, Sourced
from dims_hf.methods.masks import EVALUATION_STEP, read_ratio
from dims_hf.methods.options import option
from dims_hf.methods.references import ReferenceBatch, pack_references
from dims_hf.objectives import Loss, multi_reference_loss


if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_DDRS_RECIPE = "released DDRS-NAT code, README and nat_loss.py"


@dataclass(frozen=True)
class MultiReferenceOptions(AlignmentOptions):
    """Settings of training with several references."""

    num_references: int = option(
        3, ge=1, le=100, help="Targets of a source that are looked at, at most.", advice="The paper uses 3."
    )
    turning_point: float = option(
        2 / 3,
        gt=0,
        le=0.999,
        help="Share λ of the training after which the likeliest target takes over from their joint likelihood.",
        advice="The paper uses 2/3.",
    )
    annealing_steps: int | None = option(
        None,
        ge=1,
        help="Updates until the likeliest target alone is learnt; none = max_steps, or 300000 where epochs count.",
        advice="Leave it out for max_steps.",
    )

    def progress(self, step: int, num_updates: int) -> float:
        """τ at an optimiser step of a run of `num_updates`; 1, the likeliest target, in validation."""
        last_step = self.annealing_steps or (num_updates if num_updates > 0 else 300_000)
        return 1.0 if step == EVALUATION_STEP else min(step / last_step, 1.0)


class AnnealedBatch(ReferenceBatch):
    """[`ReferenceBatch`] with `progress` (B,), how much of the training is done."""

    progress: torch.Tensor


class MultiReference(Alignments):
    """
    CTC loss of several targets of a source: their sum, then their joint likelihood, then the likeliest alone.

    Data with one target for each source is learnt as by `ctc`. Targets that no alignment fits are left out. Means are
    over the tokens of all targets for the sum, of first targets for the rest, so that they are known beforehand.

    Source: Shao et al. 2022 (arXiv 2205.14333, DDRS), §4.
    """

    paper = "Shao et al. 2022 (DDRS, arXiv 2205.14333)"
    families = ("imputer",)
    one_pass = True
    masks_alone = True
    uses_references = True
    items = ("reference_tokens", "tokens", "sentences")
    Options = MultiReferenceOptions
    published = {
        "ddrs_teacher": {
            "model_type": Sourced("imputer", _DDRS_RECIPE),
            "method": Sourced("multi_reference", _DDRS_RECIPE),
            "num_references": Sourced(3, f"{_DDRS_RECIPE}: autoregressive models of three seeds"),
            "turning_point": Sourced(2 / 3, f"{_DDRS_RECIPE}, and §4.2 of the paper"),
            "upsample_ratio": Sourced(3, _DDRS_RECIPE),
            "learning_rate": Sourced(5e-4, _DDRS_RECIPE),
            "warmup_steps": Sourced(10_000, _DDRS_RECIPE),
            "max_steps": Sourced(300_000, _DDRS_RECIPE),
            "dropout": Sourced(0.2, _DDRS_RECIPE),
        }
    }

    def check(self, dataset: Dataset) -> None:
        """As [`Alignments`]; says so where no source has several targets."""
        super().check(dataset)
        if "references" not in dataset.column_names:
            logger.warning(
                "No source of the training pairs has several targets: method=multi_reference learns them as ctc does. "
                "Set max_references, or give JSONL whose target is a list."
            )

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> AnnealedBatch:
        """Fully masked alignments, the targets of each source, and how much of the training is done."""
        progress = self.options.progress(step, self.num_updates)
        return AnnealedBatch(
            **super().prepare(batch, keys, step),
            references=pack_references(batch, self._special_ids, self.options.num_references),
            progress=torch.full(keys.shape, progress, device=keys.device),
        )

    def count(self, batch: Batch) -> dict[str, int]:
        """Tokens of all targets, those of the first ones, and sentences."""
        tokens, reference_tokens = (int((batch[name] != -100).sum()) for name in ("labels", "references"))
        return {"reference_tokens": reference_tokens, "tokens": tokens, "sentences": len(batch["labels"])}

    def loss(self, run: Run, batch: Batch, items: Items) -> Loss:
        """Annealed loss of the targets of one batch."""
        references = batch["references"]
        is_token = references != -100
        hidden_states = forward_alignment(run.model, batch, batch["decoder_input_ids"])
        with run.autocast():
            loss = multi_reference_loss(
                run.vocabulary(hidden_states),
                references.masked_fill(~is_token, self.config.pad_token_id),
                batch["decoder_attention_mask"].sum(dim=1),
                is_token.sum(dim=2),
                blank_token_id=self.config.blank_token_id,
                progress=read_ratio(batch["progress"]),
                turning_point=self.options.turning_point,
                num_items=items["reference_tokens"],
                num_sentence_items=items["tokens"],
            )
        return Loss(loss.total, {**loss.parts, "skipped": loss.parts["skipped"] / items["sentences"]})
