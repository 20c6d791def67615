# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""DiMS: what a student of masked targets learns, the teacher's labels and hidden states at masked tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from dims_hf.distillation import TeacherRollout
from dims_hf.distillation.rollout import REVEAL_ORDERS
from dims_hf.methods.base import Distillation, DistillationOptions, Items, Run, Sourced
from dims_hf.methods.ctc_glancing import GlancingSchedule
from dims_hf.methods.masked_targets import MaskedTargetOptions, MaskedTargets
from dims_hf.methods.masks import MaskedBatch, mask_batch
from dims_hf.methods.options import is_default, option, unstated
from dims_hf.methods.published import ADAM
from dims_hf.models.modeling_translation import NATForConditionalGeneration
from dims_hf.objectives import DIVERGENCES, Loss, dims_loss
from dims_hf.objectives.dims import HIDDEN_NORMALIZATIONS


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


_SDTT = "released SDTT code (Deschenaux and Gulcehre 2024, arXiv 2410.21035), configuration multi-round-sdtt"

_SDTT_PRESET = {
    "method": Sourced("dims", _SDTT),
    "teacher_iterations": Sourced(
        16, f"ours: {_SDTT} has 1024 steps for 1024 tokens, halved to 8; sentences are shorter, and end with one pass"
    ),
    "rounds": Sourced(4, "ours: 16 steps, halved three times, are 2"),
    "halve_iterations": Sourced(True, f"{_SDTT}: steps grow twofold from round to round"),
    "max_steps": Sourced(10_000, f"{_SDTT}, grow_dt_every; of each round"),
    "steps_ahead": Sourced(2, f"{_SDTT}, num_distill_steps"),
    "divergence": Sourced("reverse_kl", f"{_SDTT}, distill_mode kl-bwd"),
    "temperature": Sourced(1.0, f"{_SDTT}: none"),
    "student_temperature": Sourced(1.0, f"{_SDTT}: none"),
    "reveal_order": Sourced("random", f"{_SDTT}, sampling_mode ancestral"),
    "label_mode": Sourced("frozen", "Deschenaux and Gulcehre 2024: a token's target is of the step that reveals it"),
    "hidden_weight": Sourced(0.0, f"{_SDTT}: distributions alone"),
    "ema_decay": Sourced(None, f"{_SDTT}, use_ema_on_growth: false"),
    "mask_policy": Sourced("uniform", f"{_SDTT}: masks of a random time"),
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
class RolloutOptions(TemperatureOptions):
    """Settings of a distillation whose teacher reveals position after position; the paper's values are defaults."""

    divergence: str = option(
        "kl",
        choices=tuple(DIVERGENCES),
        help="How far the student is from the teacher's labels: kl (DiMS), reverse_kl, jeffreys or total_variation.",
    )
    hidden_normalization: str = option(
        "none",
        choices=HIDDEN_NORMALIZATIONS,
        help="none: the hidden-state distance as it is; dimension: its root mean square, which no width enlarges.",
    )
    reveal_order: str = option(
        "confidence",
        choices=REVEAL_ORDERS,
        help="What the teacher reveals first: its most probable tokens, or any.",
    )
    steps_ahead: int | None = option(
        None,
        ge=1,
        help="Of the teacher's passes, how many are made; what they leave masked is labelled by the last. none = all.",
        advice="SDTT uses 2.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps_ahead is not None and self.steps_ahead > self.teacher_iterations:
            raise ValueError(
                f"steps_ahead={self.steps_ahead} exceeds teacher_iterations={self.teacher_iterations}, the passes "
                "there are. Lower it, or leave it out for all of them."
            )


@dataclass(frozen=True)
class DiMSOptions(GlancingSchedule, RolloutOptions, MaskedTargetOptions):
    """Settings of DiMS for models of masked targets."""

    mask_policy: str = option(
        "uniform",
        choices=("uniform", "full", "glance"),
        help="Distribution of masks: uniform, full, or glance: all but random tokens, as many as GLAT would show.",
    )
    label_smoothing: float = option(0.0, ge=0, le=0.999, help="Soft labels are not smoothed; must stay 0.")
    glancing_ratio: float = option(
        unstated(0.5), ge=0, le=1, help="Of glance masks: share of the student's wrong predictions shown at first."
    )
    glancing_final_ratio: float = option(
        unstated(0.3), ge=0, le=1, help="Of glance masks: share of its wrong predictions shown at the end."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_smoothing:
            raise ValueError("label_smoothing does not apply to the teacher's soft labels. Leave it out or set 0.")
        given = [name for name in ("glancing_ratio", "glancing_final_ratio") if not is_default(getattr(self, name))]
        given += [] if self.glancing_steps is None else ["glancing_steps"]
        if given and self.mask_policy != "glance":
            raise ValueError(f"{given[0]} has no effect on {self.mask_policy} masks. Set mask_policy: glance.")


class DiMSBatch(MaskedBatch):
    """[`MaskedBatch`] with `keys` (B,), and `glancing_ratio` (B,), which is above 0 with glance masks alone."""

    keys: torch.Tensor
    glancing_ratio: torch.Tensor


class DiMS(MaskedTargets, Distillation):
    """
    Distillation of several teacher passes into one: KL(teacher ‖ student) + λ · hidden-state distance + length loss.

    All families of masked targets share it: what else trains a teacher is not distilled. With `mask_policy=glance`,
    the masks are those of GLAT, from the student's own predictions; the mean is then over shown tokens, too.

    Source: §3 of Norouzi et al. 2023 (arXiv 2206.02999).
    """

    paper = "Norouzi et al. 2023 (arXiv 2206.02999)"
    families: ClassVar[tuple[str, ...]] = ("cmlm", "cmlmc", "disco", "refine")
    one_pass = True
    Options = DiMSOptions
    published = {
        "paper_dims": PAPER_DIMS,
        "released_dims_cmlmc": _RELEASED_DIMS,
        "released_dims_cmlmc_full_mask": _RELEASED_DIMS_FULL_MASK,
        "sdtt": _SDTT_PRESET,
    }

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> DiMSBatch:
        """Masked targets; with glance masks all of them, and how much will be shown."""
        glances = self.options.mask_policy == "glance"
        masked = mask_batch(batch, self.config, policy="full" if glances else self.options.mask_policy, keys=keys)
        ratio = self.options.ratio(step, self.num_updates) if glances else 0.0
        return DiMSBatch(**masked, keys=keys, glancing_ratio=torch.full(keys.shape, ratio, device=keys.device))

    def loss(self, run: Run, batch: DiMSBatch, items: Items, teacher: NATForConditionalGeneration) -> Loss:
        """DiMS loss and length loss of one batch, after the student's glance if masks ask for one."""
        # teacher and student then see the same masks
        batch = self.glance(run, batch)
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
                hidden_normalization=options.hidden_normalization,
                divergence=options.divergence,
                num_items=items["tokens"],
            )
