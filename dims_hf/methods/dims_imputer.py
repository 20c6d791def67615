# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""DiMS of Imputers: a student learns the alignment that its teacher completes in several passes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from dims_hf.distillation import TeacherRollout
from dims_hf.methods.alignments import AlignmentBatch, AlignmentOptions, forward_alignment
from dims_hf.methods.base import Distillation, Items, Run, Sourced
from dims_hf.methods.dims import PAPER_DIMS, RolloutOptions
from dims_hf.methods.imputer import RevealsUnmasked
from dims_hf.methods.masks import MASK_POLICIES, sample_block_mask, sample_block_sizes
from dims_hf.methods.options import is_default, option, unstated
from dims_hf.models.alignment import collapse_alignment
from dims_hf.models.modeling_translation import NATForConditionalGeneration
from dims_hf.objectives import DIVERGENCES, Loss, ProjectedVocabulary, dims_loss, imputer_dims_loss


if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_APPENDIX_F = "Appendix F of Norouzi et al. 2023"


@dataclass(frozen=True)
class DiMSImputerOptions(RolloutOptions, AlignmentOptions):
    """Settings of DiMS for Imputers; defaults as in Appendix F of Norouzi et al. 2023."""

    ema_decay: float | None = option(
        None,
        ge=0,
        le=1,
        help="Momentum of the teacher; none = fixed teacher (Appendix F).",
        advice="none keeps the teacher fixed.",
    )
    hidden_weight: float = option(
        0.0, ge=0, le=float("inf"), help="Weight λ of the hidden-state loss.", advice="The paper uses 0 for Imputers."
    )
    mask_policy: str = option(
        "block", choices=("block", "uniform", "full"), help="Distribution of masks: block, uniform or full."
    )
    imputer_labels: str = option(
        "hard",
        choices=("hard", "soft"),
        help="hard: the teacher's collapsed tokens, by CTC; soft: its distribution in every masked frame.",
    )
    temperature: float = option(unstated(0.5), gt=0, help="Teacher temperature of soft labels.")
    student_temperature: float = option(unstated(1.0), gt=0, help="Student temperature of soft labels.")
    divergence: str = option(
        unstated("kl"),
        choices=tuple(DIVERGENCES),
        help="How far the student is from soft labels: kl (DiMS), reverse_kl, jeffreys or total_variation.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("temperature", "student_temperature", "divergence"):
            if self.imputer_labels == "hard" and not is_default(getattr(self, name)):
                raise ValueError(f"{name} has no effect on hard labels. Set imputer_labels: soft, or leave it out.")


class DistillationBatch(AlignmentBatch):
    """[`AlignmentBatch`] with `block_sizes` (B,): in which blocks the teacher reveals."""

    block_sizes: torch.Tensor


class DiMSImputer(RevealsUnmasked, Distillation):
    """
    Distillation of several passes of an Imputer into one.

    The teacher aligns the reference, `mask_policy` masks the alignment, the teacher completes it in n passes, block by
    block, and the student learns the result in one pass over the same masks: by CTC on the collapsed tokens
    (`imputer_labels=hard`), or by the teacher's distribution in each masked frame (`soft`; the reference has the
    observed frames in its mean, too). Blocks are those of the `block` masks, with 2^k ≥ 2^n positions and at least n
    masks; of n positions, as in decoding, for `full` masks; whole sentences for `uniform` ones. No reference is
    skipped: one that does not fit is masked wholly, and the teacher's own tokens always fit.

    Source: Appendix F of Norouzi et al. 2023 (arXiv 2206.02999): two iterations, no moving average; hard labels and
    sizes of blocks are those of the released code.
    """

    paper = "Norouzi et al. 2023 (arXiv 2206.02999), Appendix F"
    families = ("imputer",)
    one_pass = True
    items = ("frames", "masked_frames", "sentences")
    Options = DiMSImputerOptions
    published = {
        "paper_dims_imputer": {
            **{name: value for name, value in PAPER_DIMS.items() if not name.endswith("temperature")},
            "method": Sourced("dims_imputer", _APPENDIX_F),
            "ema_decay": Sourced(None, f"{_APPENDIX_F}: no moving average"),
            "imputer_labels": Sourced(
                "hard", "released DiMS code, criterion ctc: the CTC loss of the teacher's tokens"
            ),
            "mask_policy": Sourced(
                "block", "released DiMS code, models/nat/cmlm_transformer.py: blocks of 2, 4, 8 or 16"
            ),
            "hidden_weight": Sourced(0.0, "released DiMS code, criterions/ctc.py: the CTC loss alone"),
            "length_weight": Sourced(0.0, "an Imputer predicts no length"),
        }
    }

    def check(self, dataset: Dataset) -> None:
        """Says how many references do not fit."""
        share, message = self.find_unfit(dataset)
        if share:
            logger.warning("%s; they are masked wholly. A larger upsample_ratio would fit them.", message)

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> DistillationBatch:
        """The batch as teacher and student see it, before anything is revealed."""
        prepared, options = super().prepare(batch, keys, step), self.options
        is_frame, num_passes = prepared["decoder_attention_mask"], options.teacher_iterations
        if options.mask_policy == "block":
            is_masked = sample_block_mask(is_frame, keys, fewest=num_passes)
            block_sizes = sample_block_sizes(keys, fewest=num_passes)
        else:
            is_masked = MASK_POLICIES[options.mask_policy](is_frame, keys)
            # whole sentences, whatever the padding: the border is behind the last column, so that no frame is at one
            size = num_passes if options.mask_policy == "full" else is_frame.shape[1] + 1
            block_sizes = torch.full_like(keys, size)
        does_not_fit = ~self.targets_of(prepared).fits.unsqueeze(1)
        # without an alignment there is nothing to reveal
        prepared["is_masked"] = is_masked | (does_not_fit & is_frame)
        return DistillationBatch(**prepared, block_sizes=block_sizes)

    def count(self, batch: DistillationBatch) -> dict[str, int]:
        """Frames, masked frames, and sentences."""
        # all sentences: the teacher's tokens always fit, unlike references
        frames, masked = (int(batch[name].sum()) for name in ("decoder_attention_mask", "is_masked"))
        return {"frames": frames, "masked_frames": masked, "sentences": len(batch["labels"])}

    def loss(  # type: ignore[override]  # a student's, unlike that of other alignment-based methods, takes a teacher
        self, run: Run, batch: DistillationBatch, items: Items, teacher: NATForConditionalGeneration
    ) -> Loss:
        """Loss of one batch on the alignments that the teacher completes."""
        tokens = self.reveal(run, batch, teacher).tokens
        labels = self.roll_out(run, batch, teacher, tokens, block_sizes=batch["block_sizes"])
        hidden_states = forward_alignment(run.model, batch, tokens)
        is_masked = tokens == self.config.mask_token_id
        learn = {"hard": self._learn_tokens, "soft": self._learn_distributions}[self.options.imputer_labels]
        with run.autocast():
            return learn(run, batch, items, run.vocabulary(hidden_states), labels, is_masked)

    def _learn_tokens(
        self,
        run: Run,
        batch: DistillationBatch,
        items: Items,
        student: ProjectedVocabulary,
        labels: TeacherRollout,
        is_masked: torch.Tensor,
    ) -> Loss:
        frame_lengths, ids = batch["decoder_attention_mask"].sum(dim=1), self.config
        targets, target_lengths = collapse_alignment(
            labels.tokens, frame_lengths, blank_token_id=ids.blank_token_id, pad_token_id=ids.pad_token_id
        )
        return imputer_dims_loss(
            student,
            targets[:, : int(target_lengths.max())],
            frame_lengths,
            target_lengths,
            student.hidden_states,
            labels.hidden_states,
            is_masked,
            blank_token_id=ids.blank_token_id,
            hidden_weight=self.options.hidden_weight,
            hidden_squared=self.options.hidden_squared,
            hidden_normalization=self.options.hidden_normalization,
            num_items=(items["frames"], items["masked_frames"]),
        )

    def _learn_distributions(
        self,
        run: Run,
        batch: DistillationBatch,
        items: Items,
        student: ProjectedVocabulary,
        labels: TeacherRollout,
        is_masked: torch.Tensor,
    ) -> Loss:
        masked = student.select(is_masked)
        return dims_loss(  # frames have no references: there is no accuracy
            masked,
            run.vocabulary(labels.hidden_states, labels.teacher),
            masked.hidden_states,
            labels.hidden_states,
            is_masked,
            temperature=self.options.temperature,
            student_temperature=self.options.student_temperature,
            hidden_weight=self.options.hidden_weight,
            hidden_squared=self.options.hidden_squared,
            hidden_normalization=self.options.hidden_normalization,
            divergence=self.options.divergence,
            num_items=items["masked_frames"],
        )
