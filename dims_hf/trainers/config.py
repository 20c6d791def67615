# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Training arguments: teacher training and DiMS distillation, with the papers' values as defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from transformers import Seq2SeqTrainingArguments

from dims_hf.distillation.rollout import LABEL_MODES
from dims_hf.models.masking import MASK_POLICIES
from dims_hf.objectives.cmlmc import REDUCTIONS
from dims_hf.trainers.precision import settle_precision


class _OwnSchedule(str):
    """A schedule that is no member of transformers' enumeration, whose model cards ask every schedule for `value`."""

    __slots__ = ()

    @property
    def value(self) -> str:
        """Its name."""
        return str(self)


REFERENCE_SCHEDULE = _OwnSchedule("fairseq_inverse_sqrt")

# What Imputers can be trained on.
ALIGNMENT_OBJECTIVES = ("imputer", "ctc", "ctc_glancing")
# What students of Imputers can learn: the teacher's final tokens, or its distribution in each frame.
IMPUTER_LABELS = ("hard", "soft")

# Options of transformers that our batches, our evaluation or our resuming would ignore or contradict.
_WITHOUT_EFFECT = (
    "auto_find_batch_size",
    "average_tokens_across_devices",
    "batch_eval_metrics",
    "bf16_full_eval",
    "dataloader_drop_last",
    "dataloader_in_order",
    "dataloader_multiprocessing_context",
    "eval_accumulation_steps",
    "eval_do_concat_batches",
    "eval_use_gather_object",
    "fp16_full_eval",
    "generation_config",
    "generation_max_length",
    "generation_num_beams",
    "include_for_metrics",
    "label_names",
    "length_column_name",
    "predict_with_generate",
    "prediction_loss_only",
    "restore_callback_states_from_checkpoint",
    "sortish_sampler",
    "train_sampling_strategy",
)


def _check_range(name: str, value: float | None, low: float, high: float, hint: str) -> None:
    if value is not None and not low <= value <= high:
        raise ValueError(f"{name} must lie in [{low:g}, {high:g}], got {value}. {hint}")


@dataclass
class NATTrainingArguments(Seq2SeqTrainingArguments):
    r"""
    Arguments that train a non-autoregressive teacher.

    Defaults that differ from transformers': `learning_rate` 5e-4, `adam_beta2` 0.98, `adam_epsilon` 1e-8,
    `weight_decay` 0.01, `max_grad_norm` 0 (no clipping), `warmup_steps` 10000, `lr_scheduler_type`
    `fairseq_inverse_sqrt`, `optim` `adamw_torch_fused`, `remove_unused_columns` False, `ddp_find_unused_parameters`
    False. Source: fairseq's CMLM recipe (Ghazvininejad et al. 2019). `bf16` means fp32 on a CPU without products in
    bf16.

    > Parameters that control batches and masks

    Args:
        max_tokens_per_batch (`int`, *optional*): padded tokens of a device batch, the longer of source and target
            counted; an update sees `max_tokens_per_batch · gradient_accumulation_steps · processes`. `None` uses
            `per_device_train_batch_size` sentences instead.
        mask_policy (`str`): distribution of masks: `uniform`, `full` or, for Imputers (and their default), `block`.
        mask_seed (`int`, *optional*): seed of the masks; default `seed`. A sentence's mask depends on (mask_seed,
            optimiser step, corpus index) alone.

    > Parameters that control the loss

    Args:
        label_smoothing (`float`): of the token loss; 0.1 for teachers, 0 in distillation and for Imputers.
        length_weight (`float`): weight of the length loss; 0.1 in the reference, 0 for Imputers.
        attn_implementation (`str`, *optional*): attention backend of the model in training; `eager` is the fastest on
            a CPU for short sentences (`sdpa`'s backward pass is slow there).
        loss_normalization (`str`): `update` divides by the items of the whole optimiser update over all processes,
            so that accumulation and processes change nothing; `micro_batch` is the reference's mean of means.

    > Parameters of CMLMC teachers, refused for others

    Args:
        correction_reduction (`str`): `joint` is one mean over masked and replaced tokens, as the reference trained
            the teachers of DiMS; `average` the average of two means, as Huang et al. 2022.
        replace_fraction (`float`): share of the revealed tokens that predictions replace, to be corrected.
        encoder_mask_fraction (`float`): at most this share of the source tokens, and at least one, is masked; 0 masks
            none.
        encoder_loss_weight (`float`): weight of the prediction of masked source tokens.

    > Parameters of Imputers, refused for others

    Args:
        objective (`str`, *optional*): `imputer` (the default) fills masks of the best alignment; `ctc` predicts the
            alignment from masks alone; `ctc_glancing` does too, and is shown some of the best alignment (FullyNAT).
        ctc_steps (`int`): updates of pure CTC with which the training of an `imputer` begins.
        glancing_ratio, glancing_final_ratio (`float`): how many tokens of the best alignment `ctc_glancing` reveals,
            as a share of those predicted wrong: in the first update, and from `glancing_steps` on; linear in between.
        glancing_steps (`int`, *optional*): default: `max_steps`, or 300000 where epochs count.

    > Parameters that control evaluation, stopping and the final model

    Args:
        eval_iterations (`list[int]`): decoder passes at which the validation BLEU is computed.
        eval_length_beam_size (`int`): length candidates in validation; 1 in the paper (captions of Table 5, Fig. 7).
        early_stopping_patience (`int`, *optional*): stop after so many evaluations without a better single-step BLEU.
        num_best_checkpoints (`int`): how many checkpoints with the best `metric_for_best_model` are kept; their
            average becomes the final model. 0 keeps the last weights.
        collapse_patience (`int`): stop after so many evaluations in a row whose translations are (nearly) constant.
    """

    learning_rate: float = field(default=5e-4, metadata={"help": "Peak learning rate."})
    adam_beta2: float = field(default=0.98, metadata={"help": "Second Adam decay; fairseq's value."})
    adam_epsilon: float = field(default=1e-8, metadata={"help": "Adam epsilon; fairseq's value."})
    weight_decay: float = field(default=0.01, metadata={"help": "Decoupled weight decay."})
    max_grad_norm: float = field(default=0.0, metadata={"help": "Clip gradients to this norm; 0 does not clip."})
    warmup_steps: float = field(default=10_000, metadata={"help": "Linear warm-up, in optimiser steps."})
    lr_scheduler_type: str = field(
        default=REFERENCE_SCHEDULE,
        metadata={
            "help": f"`{REFERENCE_SCHEDULE}` (1e-7, warm-up, then lr·√(warm-up/step)) or a transformers schedule."
        },
    )
    optim: str = field(default="adamw_torch_fused", metadata={"help": "Several times faster than plain AdamW."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Must stay False: masks need the index."})
    ddp_find_unused_parameters: bool | None = field(default=False, metadata={"help": "All parameters are used."})
    max_tokens_per_batch: int | None = field(
        default=8192,
        metadata={"help": "Padded tokens per device batch; none = per_device_train_batch_size sentences."},
    )
    mask_policy: str = field(default="uniform", metadata={"help": f"One of {', '.join(MASK_POLICIES)}."})
    mask_seed: int | None = field(default=None, metadata={"help": "Seed of the masks; default: seed."})
    label_smoothing: float = field(default=0.1, metadata={"help": "Smoothing of the token loss, in [0, 1)."})
    length_weight: float = field(default=0.1, metadata={"help": "Weight of the length loss."})
    attn_implementation: str | None = field(
        default=None,
        metadata={"help": "Attention backend: eager, sdpa, flash_attention_2, …; none keeps the model's."},
    )
    loss_normalization: str = field(default="update", metadata={"help": "`update` or `micro_batch`."})
    correction_reduction: str = field(
        default="joint", metadata={"help": f"CMLMC: mean of masked and replaced tokens, {' or '.join(REDUCTIONS)}."}
    )
    replace_fraction: float = field(
        default=0.3, metadata={"help": "CMLMC: share of revealed tokens replaced by predictions."}
    )
    encoder_mask_fraction: float = field(
        default=0.1, metadata={"help": "CMLMC: largest share of source tokens masked; 0 = none."}
    )
    encoder_loss_weight: float = field(
        default=0.01, metadata={"help": "CMLMC: weight of the prediction of masked source tokens."}
    )
    objective: str | None = field(
        default=None, metadata={"help": f"Imputer: {', '.join(ALIGNMENT_OBJECTIVES)}; none = imputer."}
    )
    ctc_steps: int = field(default=0, metadata={"help": "Imputer: updates of pure CTC to begin with."})
    glancing_ratio: float = field(default=0.5, metadata={"help": "ctc_glancing: share revealed in the first update."})
    glancing_final_ratio: float = field(default=0.3, metadata={"help": "ctc_glancing: share revealed at the end."})
    glancing_steps: int | None = field(
        default=None, metadata={"help": "ctc_glancing: updates from the first share to the last; none = max_steps."}
    )
    eval_iterations: list[int] = field(
        default_factory=lambda: [1], metadata={"help": "Decoder passes at which validation BLEU is computed."}
    )
    eval_length_beam_size: int = field(default=1, metadata={"help": "Length candidates in validation."})
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Evaluations without a better metric before training stops."}
    )
    num_best_checkpoints: int = field(default=5, metadata={"help": "Best checkpoints kept and averaged; 0 = none."})
    collapse_patience: int = field(
        default=2, metadata={"help": "Evaluations in a row with constant output before training stops."}
    )

    def __new__(cls, *args, **kwargs) -> NATTrainingArguments:
        """Remembers which settings were given: a family's defaults replace the others."""
        arguments = super().__new__(cls)
        arguments._given_names = frozenset(kwargs)
        return arguments

    def was_given(self, name: str) -> bool:
        """Whether the setting was given by name, with whatever value."""
        return name in self._given_names

    def use_defaults(self, defaults: Mapping[str, Any]) -> None:
        """Takes the defaults of the model's family, except for settings that were given, with whatever value."""
        for name, value in defaults.items():
            if not self.was_given(name) and hasattr(self, name):
                setattr(self, name, value)

    def __post_init__(self) -> None:
        self._check_values()
        # transformers knows its own schedules only; ours is put back once its checks are done.
        wants_reference_schedule = str(self.lr_scheduler_type) == REFERENCE_SCHEDULE
        if wants_reference_schedule:
            self.lr_scheduler_type = "inverse_sqrt"
        if self.metric_for_best_model is None:
            self.metric_for_best_model = f"bleu_{min(self.eval_iterations)}"
        self._set_direction()
        # transformers asks for this before it lets bf16 train on a CPU; without an accelerator there is no choice.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        if self.fp16 and self.use_cpu:
            raise ValueError("fp16 needs a GPU. Use bf16, or leave both out to train in fp32.")
        settle_precision(self)
        super().__post_init__()
        if wants_reference_schedule:
            self.lr_scheduler_type = REFERENCE_SCHEDULE
        if self.mask_seed is None:
            self.mask_seed = self.seed

    def _set_direction(self) -> None:
        greater_is_better = not self.metric_for_best_model.endswith("loss")
        if self.greater_is_better not in (None, greater_is_better):
            raise ValueError(
                f"greater_is_better={self.greater_is_better} does not fit metric_for_best_model="
                f"{self.metric_for_best_model}. Leave it out."
            )
        self.greater_is_better = greater_is_better

    def _check_values(self) -> None:
        self._check_inherited()
        if self.mask_policy not in MASK_POLICIES:
            raise ValueError(f"mask_policy must be one of {', '.join(MASK_POLICIES)}, got {self.mask_policy!r}.")
        if self.loss_normalization not in ("update", "micro_batch"):
            raise ValueError(f"loss_normalization must be update or micro_batch, got {self.loss_normalization!r}.")
        if self.max_tokens_per_batch is not None and self.max_tokens_per_batch < 1:
            raise ValueError(f"max_tokens_per_batch must be >= 1, got {self.max_tokens_per_batch}. Try 4096.")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be > 0, got {self.learning_rate}. Try 5e-4.")
        _check_range("label_smoothing", self.label_smoothing, 0, 0.999, "The papers use 0.1 for teachers.")
        _check_range("length_weight", self.length_weight, 0, float("inf"), "The reference uses 0.1.")
        self._check_correction()
        self._check_alignment()
        self._check_evaluation()

    def _check_inherited(self) -> None:
        """Options of transformers that do not go together with ours, or with each other."""
        for option in fields(Seq2SeqTrainingArguments):
            # A list is the only default that a factory makes here, and an empty one.
            default = [] if callable(option.default_factory) else option.default
            value = getattr(self, option.name)
            if option.name in _WITHOUT_EFFECT and value != default:
                raise ValueError(
                    f"{option.name}={value!r} has no effect: batches come from max_tokens_per_batch, and evaluation "
                    "decodes with eval_iterations. Leave it out."
                )
        if self.label_smoothing_factor:
            raise ValueError("label_smoothing_factor is the autoregressive one. Use label_smoothing.")
        if self.remove_unused_columns:
            raise ValueError(
                "remove_unused_columns=True would drop the corpus index that masks depend on. Leave it out."
            )
        if self.fp16 and self.bf16:
            raise ValueError("fp16 and bf16 are both set. Add --no_bf16 to train in fp16, or leave out fp16.")

    def _check_correction(self) -> None:
        if self.correction_reduction not in REDUCTIONS:
            raise ValueError(
                f"correction_reduction must be one of {', '.join(REDUCTIONS)}, got {self.correction_reduction!r}."
            )
        _check_range("replace_fraction", self.replace_fraction, 0, 1, "The reference uses 0.3.")
        _check_range("encoder_mask_fraction", self.encoder_mask_fraction, 0, 1, "The reference uses 0.1.")
        _check_range("encoder_loss_weight", self.encoder_loss_weight, 0, float("inf"), "The reference uses 0.01.")

    def _check_alignment(self) -> None:
        if self.objective not in (None, *ALIGNMENT_OBJECTIVES):
            raise ValueError(f"objective must be one of {', '.join(ALIGNMENT_OBJECTIVES)}, got {self.objective!r}.")
        if self.ctc_steps < 0:
            raise ValueError(f"ctc_steps must be >= 0, got {self.ctc_steps}. 0 starts with partially masked targets.")
        if self.glancing_steps is not None and self.glancing_steps < 1:
            raise ValueError(f"glancing_steps must be >= 1, got {self.glancing_steps}. Leave it out for max_steps.")
        _check_range("glancing_ratio", self.glancing_ratio, 0, 1, "GLAT uses 0.5.")
        _check_range("glancing_final_ratio", self.glancing_final_ratio, 0, 1, "GLAT uses 0.3.")

    def _check_evaluation(self) -> None:
        if not self.eval_iterations or min(self.eval_iterations) < 1:
            raise ValueError(f"eval_iterations must be integers >= 1, got {self.eval_iterations}. Try [1, 4].")
        if self.eval_length_beam_size < 1:
            raise ValueError(f"eval_length_beam_size must be >= 1, got {self.eval_length_beam_size}.")
        if self.metric_for_best_model is not None:
            self._check_metric(self.metric_for_best_model)
        for name in ("early_stopping_patience", "collapse_patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}. It counts evaluations.")
        if self.early_stopping_patience is not None and self.eval_strategy == "no":
            raise ValueError("early_stopping_patience needs evaluations. Set eval_strategy to steps or epoch.")
        if self.num_best_checkpoints < 0:
            raise ValueError(
                f"num_best_checkpoints must be >= 0, got {self.num_best_checkpoints}. 0 averages nothing."
            )

    def _check_metric(self, name: str) -> None:
        metric = re.fullmatch(r"(?:eval_)?(?:loss|accuracy|(?:bleu|chrf)_(\d+))", name)
        if metric is None:
            raise ValueError(
                f"metric_for_best_model must be loss, accuracy, bleu_K or chrf_K for K decoder passes, got {name!r}."
            )
        if metric[1] is not None and int(metric[1]) not in self.eval_iterations:
            raise ValueError(
                f"metric_for_best_model={name} needs {metric[1]} among eval_iterations, which are "
                f"{self.eval_iterations}. Add it there."
            )


@dataclass
class DiMSConfig(NATTrainingArguments):
    r"""
    Arguments of DiMS distillation; defaults are Table 8 of Norouzi et al. 2023 (arXiv 2206.02999).

    Args:
        teacher_iterations (`int`): teacher passes n that one student pass learns to match.
        ema_decay (`float`, *optional*): momentum μ of the teacher's moving average; `None` keeps the teacher fixed,
            and is the default for Imputers (Appendix F).
        hidden_weight (`float`): λ of the hidden-state distance; 0 is the default for Imputers.
        hidden_squared (`bool`): squared distance, as in the paper's formula, instead of the distance.
        temperature (`float`): divides the teacher's logits; 0.5 sharpens the labels.
        student_temperature (`float`): divides the student's logits.
        label_mode (`str`): `frozen` takes a token's label from the pass that reveals it, `last` from the last pass,
            `auto` what the teacher's own decoding does.
        disable_dropout (`bool`): no dropout in the student, as in the paper.

    > Parameters of Imputers, refused for others

    Args:
        imputer_labels (`str`): `hard` learns the teacher's collapsed tokens by CTC, `soft` its distribution in every
            masked frame.

    > Parameters that control targets and rounds

    Args:
        unsupervised (`bool`): U-DiMS: the current teacher translates the sources, and its translations are the
            targets; those of the corpus are not looked at.
        synthetic_iterations (`int`): decoder passes of those translations; 2 in the paper.
        synthetic_length_beam_size (`int`): their length candidates.
        synthetic_collapse_repeats (`bool`): drop their immediate repeats.
        rounds (`int`): distil so many times in a row, the student of a round being the teacher of the next (§4.6.2,
            Fig. 4); each round has the full length, stops early on its own, and lives in `output_dir/round-K`. The
            paper does this without a moving average (`ema_decay=None`).
    """

    learning_rate: float = field(default=1e-3, metadata={"help": "Peak learning rate (Table 8)."})
    warmup_steps: float = field(default=1, metadata={"help": "1 reproduces the reference: 1e-7, then 1e-3/√(k−1)."})
    label_smoothing: float = field(default=0.0, metadata={"help": "Soft labels are not smoothed; must stay 0."})
    teacher_iterations: int = field(default=2, metadata={"help": "Teacher passes n (§4.1, Table 8)."})
    ema_decay: float | None = field(
        default=0.9992, metadata={"help": "Momentum of the teacher; none = fixed teacher."}
    )
    hidden_weight: float = field(default=0.7, metadata={"help": "Weight λ of the hidden-state loss (Table 8)."})
    hidden_squared: bool = field(default=False, metadata={"help": "Squared hidden-state distance."})
    temperature: float = field(default=0.5, metadata={"help": "Teacher temperature (Table 8)."})
    student_temperature: float = field(default=1.0, metadata={"help": "Student temperature."})
    label_mode: str = field(default="auto", metadata={"help": f"One of {', '.join(LABEL_MODES)}."})
    imputer_labels: str = field(default="hard", metadata={"help": f"Imputer: {' or '.join(IMPUTER_LABELS)} labels."})
    disable_dropout: bool = field(default=True, metadata={"help": "Student without dropout (§4.1)."})
    unsupervised: bool = field(default=False, metadata={"help": "U-DiMS: train on the teacher's own translations."})
    synthetic_iterations: int = field(default=2, metadata={"help": "Decoder passes of U-DiMS translations."})
    synthetic_length_beam_size: int = field(default=1, metadata={"help": "Length candidates of U-DiMS translations."})
    synthetic_collapse_repeats: bool = field(
        default=False, metadata={"help": "Drop immediate repeats from U-DiMS translations."}
    )
    rounds: int = field(default=1, metadata={"help": "Rounds of distillation, each from the student of the last."})

    def _check_values(self) -> None:
        super()._check_values()
        if self.teacher_iterations < 1:
            raise ValueError(f"teacher_iterations must be >= 1, got {self.teacher_iterations}. The paper uses 2.")
        if self.label_mode not in LABEL_MODES:
            raise ValueError(f"label_mode must be one of {', '.join(LABEL_MODES)}, got {self.label_mode!r}.")
        if self.imputer_labels not in IMPUTER_LABELS:
            labels = ", ".join(IMPUTER_LABELS)
            raise ValueError(f"imputer_labels must be one of {labels}, got {self.imputer_labels!r}.")
        if self.label_smoothing:
            raise ValueError("label_smoothing does not apply to the teacher's soft labels. Leave it out or set 0.")
        self._check_targets_and_rounds()
        # newer releases of transformers call it activation_checkpointing
        checkpoints = self.gradient_checkpointing or getattr(self, "activation_checkpointing", None)
        if checkpoints and self.disable_dropout:
            raise ValueError(
                "gradient_checkpointing has no effect on a student without dropout, which stays in evaluation mode. "
                "Set disable_dropout: false, or leave it out."
            )
        for name in ("temperature", "student_temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be > 0, got {getattr(self, name)}. The paper uses 0.5 for the teacher.")
        _check_range("ema_decay", self.ema_decay, 0, 1, "The paper uses 0.9992; none keeps the teacher fixed.")
        _check_range("hidden_weight", self.hidden_weight, 0, float("inf"), "The paper uses 0.7.")

    def _check_targets_and_rounds(self) -> None:
        for name in ("synthetic_iterations", "synthetic_length_beam_size", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}. Leave it out for the default.")
        if self.unsupervised:
            return
        for option in fields(self):
            if option.name.startswith("synthetic_") and getattr(self, option.name) != option.default:
                raise ValueError(f"{option.name} has no effect without unsupervised. Set unsupervised: true.")
