# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What the student of a CMLM or CMLMC learns: the teacher's labels and hidden states at masked tokens."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from dims_hf.distillation import roll_out_teacher
from dims_hf.methods.cmlm import CMLMTeacherLoss, Items, forward_masked
from dims_hf.methods.masking import MaskedBatch
from dims_hf.objectives import Loss, ProjectedVocabulary, dims_loss


class CMLMStudentLoss(CMLMTeacherLoss):
    """
    Inputs, items and loss of a student. All families of masked targets share it: what else trains a teacher is not
    distilled.
    """

    def distil(
        self, teacher: PreTrainedModel, model: torch.nn.Module, inputs: MaskedBatch, items: Items
    ) -> tuple[Loss, torch.Tensor]:
        """
        DiMS loss of one batch, and the logits of the student's length predictor.

        Args:
            teacher (`PreTrainedModel`): in evaluation mode.
            model: the student, possibly wrapped.
            inputs ([`MaskedBatch`]): from [`mask`].
            items (`Items`): denominators.
        """
        args = self.args
        with self.accelerator.autocast():
            labels = roll_out_teacher(
                teacher,
                inputs["input_ids"],
                inputs["attention_mask"],
                inputs["decoder_input_ids"],
                num_iterations=args.teacher_iterations,
                label_mode=args.label_mode,
            )
        outputs, is_masked = forward_masked(model, inputs, self.config.mask_token_id)
        hidden_states = outputs.decoder_last_hidden_state[is_masked]
        with self.accelerator.autocast():
            token = dims_loss(
                self.vocabulary(model, hidden_states),
                ProjectedVocabulary.of(teacher, labels.hidden_states),
                hidden_states,
                labels.hidden_states,
                is_masked,
                labels=inputs["labels"],
                temperature=args.temperature,
                student_temperature=args.student_temperature,
                hidden_weight=args.hidden_weight,
                hidden_squared=args.hidden_squared,
                num_items=items["tokens"],
            )
        return token, outputs.length_logits
