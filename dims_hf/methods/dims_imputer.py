# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What the student of an Imputer learns: the alignment that its teacher completes in several passes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedModel

from dims_hf.distillation import TeacherRollout, roll_out_teacher
from dims_hf.methods.cmlm import Items
from dims_hf.methods.imputer import AlignmentBatch, ImputerTeacherLoss, forward_alignment
from dims_hf.models.alignment import collapse_alignment
from dims_hf.models.masking import MASK_POLICIES, sample_block_mask, sample_block_sizes
from dims_hf.objectives import Loss, ProjectedVocabulary, dims_loss, imputer_dims_loss


if TYPE_CHECKING:
    from datasets import Dataset

    from dims_hf.trainers.config import NATTrainingArguments

logger = logging.getLogger(__name__)


class DistillationBatch(AlignmentBatch):
    """[`AlignmentBatch`] with `block_sizes` (B,): in which blocks the teacher reveals."""

    block_sizes: torch.LongTensor


class ImputerStudentLoss(ImputerTeacherLoss):
    """
    Inputs, items and loss of a student that learns several iterations of an Imputer.

    The teacher aligns the reference, `mask_policy` masks the alignment, the teacher completes it in n passes, block by
    block, and the student learns the result in one pass over the same masks: by CTC on the collapsed tokens
    (`imputer_labels=hard`), or by the teacher's distribution in each masked frame (`soft`; the reference has the
    observed frames in its mean, too). Blocks are those of the `block` masks, with 2^k ≥ 2^n positions and at least n
    masks; of n positions, as in decoding, for `full` masks; whole sentences for `uniform` ones. No reference is
    skipped: one that does not fit is masked wholly, and the teacher's own tokens always fit.

    Source: Appendix F of Norouzi et al. 2023 (arXiv 2206.02999): two iterations, no moving average; hard labels and
    sizes of blocks are those of the released code.
    """

    options = ("imputer_labels",)
    defaults = {**ImputerTeacherLoss.defaults, "ema_decay": None, "hidden_weight": 0.0}
    item_names = ("frames", "masked_frames", "sentences")

    @classmethod
    def check_options(cls, args: NATTrainingArguments) -> None:
        """Refuses settings that would have no effect."""
        super().check_options(args)
        for name in ("temperature", "student_temperature"):
            if args.imputer_labels == "hard" and args.was_given(name):
                raise ValueError(f"{name} has no effect on hard labels. Set imputer_labels: soft, or leave it out.")

    def check_corpus(self, dataset: Dataset) -> None:
        """Says how many references do not fit, unless the teacher writes the targets."""
        share, message = self.find_unfit(dataset)
        if share and not self.args.unsupervised:
            logger.warning("%s; they are masked wholly. A larger upsample_ratio would fit them.", message)

    def mask(self, batch: dict[str, torch.Tensor], step: int) -> DistillationBatch:
        """The batch as teacher and student see it at an optimiser step, before anything is revealed."""
        inputs, num_passes, policy = self._make_batch(batch, step), self.args.teacher_iterations, self.args.mask_policy
        is_frame, keys = inputs["decoder_attention_mask"], inputs["keys"]
        if policy == "block":
            is_masked = sample_block_mask(is_frame, keys, fewest=num_passes)
            block_sizes = sample_block_sizes(keys, fewest=num_passes)
        else:
            is_masked = MASK_POLICIES[policy](is_frame, keys)
            # whole sentences, whatever the padding: the border is behind the last column, so that no frame is at one
            block_sizes = torch.full_like(keys, num_passes if policy == "full" else is_frame.shape[1] + 1)
        does_not_fit = ~self.targets_of(inputs).fits.unsqueeze(1)
        return DistillationBatch(
            **{**inputs, "is_masked": is_masked | (does_not_fit & is_frame)}, block_sizes=block_sizes
        )

    def count_items(self, inputs: DistillationBatch) -> dict[str, int]:
        """What the loss's means are over, for each of `item_names`."""
        frames, masked = (int(inputs[name].sum()) for name in ("decoder_attention_mask", "is_masked"))
        return {"frames": frames, "masked_frames": masked, "sentences": len(inputs["labels"])}

    def distil(
        self, teacher: PreTrainedModel, model: torch.nn.Module, inputs: DistillationBatch, items: Items
    ) -> tuple[Loss, None]:
        """Loss of one batch; there is no length predictor."""
        args, tokens = self.args, self.reveal(teacher, inputs).tokens
        with self.accelerator.autocast():
            labels = roll_out_teacher(
                teacher,
                inputs["input_ids"],
                inputs["attention_mask"],
                tokens,
                num_iterations=args.teacher_iterations,
                label_mode=args.label_mode,
                block_sizes=inputs["block_sizes"],
            )
        hidden_states, is_masked = forward_alignment(model, inputs, tokens), tokens == self.config.mask_token_id
        learn = {"hard": self._learn_tokens, "soft": self._learn_distributions}[args.imputer_labels]
        with self.accelerator.autocast():
            return learn(self.vocabulary(model, hidden_states), labels, is_masked, inputs, items), None

    def _learn_tokens(
        self,
        student: ProjectedVocabulary,
        labels: TeacherRollout,
        is_masked: torch.BoolTensor,
        inputs: DistillationBatch,
        items: Items,
    ) -> Loss:
        frame_lengths, ids = inputs["decoder_attention_mask"].sum(dim=1), self.config
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
            hidden_weight=self.args.hidden_weight,
            hidden_squared=self.args.hidden_squared,
            num_items=(items["frames"], items["masked_frames"]),
        )

    def _learn_distributions(
        self,
        student: ProjectedVocabulary,
        labels: TeacherRollout,
        is_masked: torch.BoolTensor,
        inputs: DistillationBatch,
        items: Items,
    ) -> Loss:
        masked = student.select(is_masked)
        return dims_loss(  # frames have no references: there is no accuracy
            masked,
            ProjectedVocabulary.of(labels.teacher, labels.hidden_states),
            masked.hidden_states,
            labels.hidden_states,
            is_masked,
            temperature=self.args.temperature,
            student_temperature=self.args.student_temperature,
            hidden_weight=self.args.hidden_weight,
            hidden_squared=self.args.hidden_squared,
            num_items=items["masked_frames"],
        )
