# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""DiMS: what a student of masked targets learns, the teacher's labels and hidden states at masked tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dims_hf.distillation import TeacherRollout
from dims_hf.methods.base import Distillation, DistillationOptions, Items, Run, Sourced
from dims_hf.methods.masked_targets import MaskedTargetOptions, MaskedTargets
from dims_hf.methods.masks import MaskedBatch
from dims_hf.methods.options import option
from dims_hf.methods.published import ADAM
from dims_hf.models.modeling_translation import NATForConditionalGeneration
from dims_hf.objectives import Loss, dims_loss


_TABLE_8 = "Table 8 of Norouzi et al. 2023 (arXiv 2206.02999)"
_SECTION_4_1 = "§4.1 of Norouzi et al. 2023"
_RELEASED = "released DiMS code, ExpSetting/cmlmc-ende.json"
_RELEASED_FULL_MASK = "released DiMS code, ExpSetting/cmlmc-ende-fullmask.json"
_RELEASED_TRAINER = "released DiMS code, exp_manager.py"
_RELEASED_LOSS = "released DiMS code, criterions/nat_loss.py"

PAPER_DIMS = {
    **ADAM,
    "teacher_iterations": Sourced(2, f"{_SECTION_4_1}, {_TABLE_8}"),
    "ema_decay": Sourced(0.9992, _TABLE_8),
    "hidden_weight": Sourced(0.7, _TABLE_8),
    "temperature": Sourced(0.5, _TABLE_8),
    "student_temperature": Sourced(1.0, f"{_RELEASED}: the temperature is the teacher's alone"),
    "length_weight": Sourced(0.1, _TABLE_8),
    "learning_rate": Sourced(1e-3, _TABLE_8),
    "warmup_steps": Sourced(1, f"{_TABLE_8} says 0, which divides by zero; {_RELEASED_TRAINER} says 1"),
    "max_tokens_per_batch": Sourced(8192, f"{_TABLE_8}, on each of four GPUs"),
    "label_smoothing": Sourced(0.0, _RELEASED),
    "disable_dropout": Sourced(True, _SECTION_4_1),
    "mask_policy": Sourced("uniform", _TABLE_8),
    "label_mode": Sourced("auto", "§3.1 of Norouzi et al. 2023 for CMLM; a corrected model labels in the last pass"),
    "hidden_squared": Sourced(False, "text of §3.1 of Norouzi et al. 2023 (its formula squares)"),
    "num_best_checkpoints": Sourced(5, _SECTION_4_1),
    "eval_iterations": Sourced([1], f"{_SECTION_4_1}: single-step BLEU"),
    "eval_length_beam_size": Sourced(1, "captions of Table 5 and Fig. 7 of Norouzi et al. 2023"),
}

_RELEASED_DIMS = {
    **PAPER_DIMS,
    "hidden_weight": Sourced(0.4, f"{_RELEASED}, embed-loss-factor"),
    "max_tokens_per_batch": Sourced(8196, _RELEASED_TRAINER),
    "label_mode": Sourced("last", "released DiMS code, models/nat/cmlm_distill.py: labels are the last pass's"),
    "loss_normalization": Sourced("micro_batch", _RELEASED_LOSS),
    "eval_iterations": Sourced([1, 8], "released DiMS code, tasks/translation_lev.py"),
    "eval_length_beam_size": Sourced(5, "released DiMS code: the default where the settings leave it out"),
    "eval_strategy": Sourced("steps", _RELEASED_TRAINER),
    "eval_steps": Sourced(0.005, f"{_RELEASED_TRAINER}: 20 validations in each of 10 epochs"),
    "early_stopping_patience": Sourced(50, _RELEASED_TRAINER),
}

_RELEASED_DIMS_FULL_MASK = {
    **_RELEASED_DIMS,
    "teacher_iterations": Sourced(4, _RELEASED_FULL_MASK),
    "ema_decay": Sourced(None, _RELEASED_FULL_MASK),
    "mask_policy": Sourced("full", _RELEASED_FULL_MASK),
    "eval_steps": Sourced(0.01, f"{_RELEASED_FULL_MASK}: 10 validations in each of 10 epochs"),
}


@dataclass(frozen=True)
class TemperatureOptions(DistillationOptions):
    """Settings of a distillation by soft labels."""

    temperature: float = option(
        0.5, gt=0, help="Teacher temperature (Table 8).", advice="The paper uses 0.5 for the teacher."
    )
    student_temperature: float = option(
        1.0, gt=0, help="Student temperature.", advice="The paper uses 0.5 for the teacher."
    )


@dataclass(frozen=True)
class DiMSOptions(TemperatureOptions, MaskedTargetOptions):
    """Settings of DiMS for models of masked targets."""

    label_smoothing: float = option(0.0, ge=0, le=0.999, help="Soft labels are not smoothed; must stay 0.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_smoothing:
            raise ValueError("label_smoothing does not apply to the teacher's soft labels. Leave it out or set 0.")


class DiMS(MaskedTargets, Distillation):
    """
    Distillation of several teacher passes into one: KL(teacher ‖ student) + λ · hidden-state distance + length loss.

    All families of masked targets share it: what else trains a teacher is not distilled.

    Source: §3 of Norouzi et al. 2023 (arXiv 2206.02999).
    """

    paper = "Norouzi et al. 2023 (arXiv 2206.02999)"
    families = ("cmlm", "cmlmc", "disco", "refine")
    one_pass = True
    Options = DiMSOptions
    published = {
        "paper_dims": PAPER_DIMS,
        "released_dims_cmlmc": _RELEASED_DIMS,
        "released_dims_cmlmc_full_mask": _RELEASED_DIMS_FULL_MASK,
    }

    def loss(self, run: Run, batch: MaskedBatch, items: Items, teacher: NATForConditionalGeneration) -> Loss:
        """DiMS loss and length loss of one batch."""
        labels = self.roll_out(run, batch, teacher, batch["decoder_input_ids"])
        outputs, is_masked = self.forward(run, batch)
        token = self.label_loss(run, batch, items, teacher, labels, outputs.decoder_last_hidden_state[is_masked])
        return self.add_length_loss(token, outputs.length_logits, batch, items)

    def label_loss(
        self,
        run: Run,
        batch: MaskedBatch,
        items: Items,
        teacher: NATForConditionalGeneration,
        labels: TeacherRollout,
        hidden_states: torch.Tensor,
    ) -> Loss:
        """Distance of the student's states (M, D) at masked tokens, and what they predict, from the labels."""
        options = self.options
        is_masked = batch["decoder_input_ids"] == self.config.mask_token_id
        with run.autocast():
            return dims_loss(
                run.vocabulary(hidden_states),
                run.vocabulary(labels.hidden_states, teacher),
                hidden_states,
                labels.hidden_states,
                is_masked,
                labels=batch["labels"],
                temperature=options.temperature,
                student_temperature=options.student_temperature,
                hidden_weight=options.hidden_weight,
                hidden_squared=options.hidden_squared,
                num_items=items["tokens"],
            )
