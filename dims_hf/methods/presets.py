# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Published hyper-parameters under names: `preset: paper_dims` in a recipe, each value with its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Sourced(NamedTuple):
    """A value and where it was published."""

    value: Any
    source: str


_TABLE_8 = "Table 8 of Norouzi et al. 2023 (arXiv 2206.02999)"
_SECTION_4_1 = "§4.1 of Norouzi et al. 2023"
_RELEASED = "released DiMS code, ExpSetting/cmlmc-ende.json"
_RELEASED_FULL_MASK = "released DiMS code, ExpSetting/cmlmc-ende-fullmask.json"
_RELEASED_TRAINER = "released DiMS code, exp_manager.py"
_RELEASED_LOSS = "released DiMS code, criterions/nat_loss.py"
_CMLM_RECIPE = "fairseq, examples/nonautoregressive_translation/scripts.md"
_CMLMC_RECIPE = "released CMLMC code, train_cmlmc_ende.sh"
_APPENDIX_F = "Appendix F of Norouzi et al. 2023"
_GLAT_RECIPE = "released GLAT code, task translation_lev_modified"
_DSLP_RECIPE = "released DSLP code, nat_ctc with glancing"

_ADAM = {
    "adam_beta1": Sourced(0.9, _CMLM_RECIPE),
    "adam_beta2": Sourced(0.98, _CMLM_RECIPE),
    "adam_epsilon": Sourced(1e-8, _CMLM_RECIPE),
    "weight_decay": Sourced(0.01, _CMLM_RECIPE),
    "max_grad_norm": Sourced(0.0, "fairseq's clip-norm, which the recipes leave at 0"),
    "lr_scheduler_type": Sourced("fairseq_inverse_sqrt", _CMLM_RECIPE),
}

_PAPER_DIMS = {
    **_ADAM,
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
    **_PAPER_DIMS,
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

_CMLM_TEACHER = {
    **_ADAM,
    "model_type": Sourced("cmlm", _CMLM_RECIPE),
    "learning_rate": Sourced(5e-4, _CMLM_RECIPE),
    "warmup_steps": Sourced(10_000, _CMLM_RECIPE),
    "max_steps": Sourced(300_000, _CMLM_RECIPE),
    "max_tokens_per_batch": Sourced(8000, _CMLM_RECIPE),
    "label_smoothing": Sourced(0.1, _CMLM_RECIPE),
    "length_weight": Sourced(0.1, _CMLM_RECIPE),
    "dropout": Sourced(0.3, _CMLM_RECIPE),
    "mask_policy": Sourced("uniform", _CMLM_RECIPE),
}

_CMLMC_TEACHER = {
    **_CMLM_TEACHER,
    "model_type": Sourced("cmlmc", _CMLMC_RECIPE),
    "learning_rate": Sourced(7e-4, _CMLMC_RECIPE),
    "warmup_steps": Sourced(40_000, _CMLMC_RECIPE),
    "max_steps": Sourced(-1, f"{_CMLMC_RECIPE}: epochs count"),
    "num_train_epochs": Sourced(250.0, _CMLMC_RECIPE),
    "max_tokens_per_batch": Sourced(8192, _CMLMC_RECIPE),
    "dropout": Sourced(0.2, _CMLMC_RECIPE),
}

_PAPER_DIMS_IMPUTER = {
    **_PAPER_DIMS,
    "ema_decay": Sourced(None, f"{_APPENDIX_F}: no moving average"),
    "imputer_labels": Sourced("hard", "released DiMS code, criterion ctc: the CTC loss of the teacher's tokens"),
    "mask_policy": Sourced("block", "released DiMS code, models/nat/cmlm_transformer.py: blocks of 2, 4, 8 or 16"),
    "hidden_weight": Sourced(0.0, "released DiMS code, criterions/ctc.py: the CTC loss alone"),
    "length_weight": Sourced(0.0, "an Imputer predicts no length"),
}

_FULLYNAT_TEACHER = {
    **_ADAM,
    "model_type": Sourced("imputer", _DSLP_RECIPE),
    "objective": Sourced("ctc_glancing", _DSLP_RECIPE),
    "upsample_ratio": Sourced(2, f"{_DSLP_RECIPE}; 3 in FullyNAT"),
    "learning_rate": Sourced(5e-4, _DSLP_RECIPE),
    "warmup_steps": Sourced(10_000, _DSLP_RECIPE),
    "dropout": Sourced(0.1, f"{_DSLP_RECIPE}, WMT'14"),
    "label_smoothing": Sourced(0.0, f"{_DSLP_RECIPE}, README"),
    "glancing_ratio": Sourced(0.5, f"{_GLAT_RECIPE}, start_p"),
    "glancing_final_ratio": Sourced(0.3, f"{_GLAT_RECIPE}, start_p − minus_p"),
    "glancing_steps": Sourced(300_000, _GLAT_RECIPE),
}

# name of a preset -> field -> value and source
PRESETS: Mapping[str, Mapping[str, Sourced]] = {
    "paper_dims": _PAPER_DIMS,
    "released_dims_cmlmc": _RELEASED_DIMS,
    "released_dims_cmlmc_full_mask": _RELEASED_DIMS_FULL_MASK,
    "paper_dims_imputer": _PAPER_DIMS_IMPUTER,
    "fairseq_cmlm_teacher": _CMLM_TEACHER,
    "released_cmlmc_teacher": _CMLMC_TEACHER,
    "fullynat_teacher": _FULLYNAT_TEACHER,
}


def preset_values(name: str) -> dict[str, Any]:
    """
    The settings of a preset, without their sources.

    ```python
    >>> from dims_hf import DiMSConfig, preset_values
    >>> DiMSConfig(output_dir="runs/student", **preset_values("released_dims_cmlmc_full_mask")).teacher_iterations
    4

    ```

    Raises:
        ValueError: for a name that is none.
    """
    if name not in PRESETS:
        raise ValueError(f"There is no preset {name!r}. Use one of {', '.join(PRESETS)}.")
    return {field: sourced.value for field, sourced in PRESETS[name].items()}
