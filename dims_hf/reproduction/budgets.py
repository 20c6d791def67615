# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""How large the experiments are: sizes, lengths, seeds and sweeps for a CPU afternoon, one GPU or many."""

from __future__ import annotations

import copy
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, make_dataclass, replace
from typing import Any

from dims_hf.data.corpora import EMBEDDED_CORPUS


PRECISIONS = ("fp32", "bf16", "fp16")

# Settings that stretch and shrink with the length of a run.
_SCALED = ("warmup_steps", "ctc_steps", "eval_steps", "save_steps", "logging_steps")


@dataclass(frozen=True)
class Budget:
    """
    The sizes of every run. The values are here and not in recipe files, so that the installed package has them and one
    override reaches every run that shares a setting; a test keeps them equal to the recipes they came from.

    Settings (`…_settings`) are those of the training commands. Lengths scale their warm-up, decay and evaluations.
    """

    seeds: list[int] = field(metadata={"help": "Every training is repeated with each."})
    precision: str = field(metadata={"help": "Precision of training.", "choices": PRECISIONS})
    tokens_per_update: int = field(metadata={"help": "Padded tokens of an optimiser update, over all processes."})
    max_tokens_per_process: int = field(metadata={"help": "Of these, at most so many at once in a process."})
    teacher_settings: dict[str, Any] = field(metadata={"help": "Settings of teachers (`train`)."})
    cmlmc_settings: dict[str, Any] = field(metadata={"help": "What differs for CMLMC teachers; none = left out."})
    imputer_settings: dict[str, Any] = field(metadata={"help": "What differs for Imputer teachers."})
    ctc_settings: dict[str, Any] = field(metadata={"help": "What differs for CTC models."})
    fullynat_settings: dict[str, Any] = field(metadata={"help": "What differs for FullyNAT models."})
    student_settings: dict[str, Any] = field(metadata={"help": "Settings of students (`distill`)."})
    imputer_student_settings: dict[str, Any] = field(metadata={"help": "What differs for students of Imputers."})
    autoregressive_settings: dict[str, Any] = field(metadata={"help": "Settings of the autoregressive teacher."})
    distilled_data_settings: dict[str, Any] = field(metadata={"help": "Settings of the distilled corpus."})
    ema_decay: float = field(metadata={"help": "Momentum where an experiment wants a moving average."})
    ema_decays: list[float | None] = field(metadata={"help": "Momenta of Fig. 7; none = fixed teacher."})
    collapse_decays: list[float] = field(metadata={"help": "Momenta that should collapse."})
    hidden_weights: list[float] = field(metadata={"help": "Values of λ in Fig. 8."})
    teacher_iterations: list[int] = field(metadata={"help": "Teacher passes n of Table 5."})
    rounds: int = field(metadata={"help": "Rounds of Fig. 4."})
    families: list[str] = field(metadata={"help": "Teachers of Tables 1 and 7 on raw data."})
    distilled_families: list[str] = field(metadata={"help": "Teachers of Tables 1, 3 and 7 on distilled data."})
    iterations: list[int] = field(metadata={"help": "Decoder passes of the quality curves."})
    length_edges: list[int] = field(metadata={"help": "Longest target length (tokens) of every bucket but the last."})
    seconds: dict[str, float] = field(metadata={"help": "Assumed seconds of an update, a pass, a start, …"})
    round_patience: int = field(default=3, metadata={"help": "Evaluations without gain that end a round."})
    length_beam_size: int = field(default=1, metadata={"help": "Length candidates of every evaluation."})
    num_samples: int = field(default=8, metadata={"help": "Sentences of Table 6."})
    split: str = field(default="test", metadata={"help": "Split that is evaluated."})
    max_teacher_steps: int | None = field(default=None, metadata={"help": "Updates of every teacher."})
    max_student_steps: int | None = field(default=None, metadata={"help": "Updates of every student (and round)."})
    max_autoregressive_steps: int | None = field(default=None, metadata={"help": "Updates of that teacher."})
    max_train_examples: int | None = field(default=None, metadata={"help": "Training pairs."})
    max_valid_examples: int | None = field(default=None, metadata={"help": "Validation pairs."})
    max_test_examples: int | None = field(default=None, metadata={"help": "Pairs of every evaluation."})

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}.")
        for name in ("seeds", "iterations", "families"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty. Give at least one.")
        if min(self.iterations) < 1 or 1 not in self.iterations:
            raise ValueError(f"iterations must be >= 1 and have 1 among them, got {self.iterations}. Try 1 2 4 10.")
        for name in ("tokens_per_update", "max_tokens_per_process", "rounds", "round_patience", "num_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}.")


def with_length(settings: Mapping[str, Any], steps: int | None) -> dict[str, Any]:
    """Settings of a run of another length: warm-up, decay, evaluations and checkpoints keep their share of it."""
    scaled = copy.deepcopy(dict(settings))
    if steps is None:
        return scaled
    if steps < 1:
        raise ValueError(f"A run of {steps} updates trains nothing. Use at least 1.")
    usual = scaled.get("max_steps", -1)
    scaled.update(max_steps=steps)
    if usual > 0:
        for name in _SCALED:
            if name in scaled:
                scaled[name] = max(1, round(scaled[name] * steps / usual))
        schedule = scaled.get("lr_scheduler_kwargs", {})
        if "num_decay_steps" in schedule:
            schedule["num_decay_steps"] = max(1, int(schedule["num_decay_steps"] * steps / usual))
    return scaled


def find_budget(name: str, data: str, overrides: Mapping[str, Any] | None = None) -> Budget:
    """
    A budget for a corpus, with some values replaced; mappings (`…_settings`) are merged.

    Raises:
        ValueError: for a name that is none, or an impossible value.
    """
    if name not in BUDGETS:
        raise ValueError(f"There is no budget {name!r}. Use one of {', '.join(BUDGETS)}.")
    variants = BUDGETS[name]
    budget = variants.get(EMBEDDED_CORPUS if data == EMBEDDED_CORPUS else "other", variants["other"])
    values = {}
    for field_name, value in (overrides or {}).items():
        if isinstance(value, Mapping):
            value = {**getattr(budget, field_name), **value}
        values[field_name] = value
    return replace(budget, **values)


_HINTS = typing.get_type_hints(Budget)

# Every field of a budget, none of them needed: what the command line may override.
BudgetOverrides = make_dataclass(
    "BudgetOverrides",
    [(each.name, _HINTS[each.name] | None, field(default=None, metadata=each.metadata)) for each in fields(Budget)],
)
BudgetOverrides.__doc__ = "Values of the budget to replace; none keeps the budget's."


# ---- the values ----

_EVALUATED = {"eval_strategy": "steps", "save_strategy": "steps", "save_total_limit": 1}
_SHORT_CPU_RUN = {**_EVALUATED, "max_grad_norm": 1.0, "attn_implementation": "eager"}

# dims_hf/recipes/library/phrasebook_teacher.yaml
_PHRASEBOOK_MODEL = {
    "vocab_size": 3000, "d_model": 128, "encoder_layers": 2, "decoder_layers": 2, "attention_heads": 4,
    "ffn_dim": 256, "dropout": 0.0, "max_position_embeddings": 64,
}  # fmt: skip
_PHRASEBOOK_TEACHER = {
    **_PHRASEBOOK_MODEL, **_SHORT_CPU_RUN,
    "learning_rate": 3e-3, "warmup_steps": 300, "lr_scheduler_type": "warmup_stable_decay",
    "lr_scheduler_kwargs": {"num_decay_steps": 2500, "min_lr_ratio": 0.02}, "max_steps": 4500, "label_smoothing": 0.0,
    "eval_steps": 500, "eval_iterations": [4], "metric_for_best_model": "bleu_4", "num_best_checkpoints": 0,
    "save_steps": 1000, "logging_steps": 100,
}  # fmt: skip
# dims_hf/recipes/library/phrasebook_cmlmc_teacher.yaml, shorter: every update has three decoder passes
_PHRASEBOOK_CMLMC = {"max_steps": 3000}
# dims_hf/recipes/library/phrasebook_{imputer,ctc,fullynat}_teacher.yaml; what does not apply to alignments is left out
_ALIGNMENT = {"model_type": "imputer", "label_smoothing": None, "metric_for_best_model": None, "eval_iterations": [1]}
_CTC = {**_ALIGNMENT, "objective": "ctc"}
_FULLYNAT = {**_ALIGNMENT, "objective": "ctc_glancing"}
_IMPUTER = {
    **_ALIGNMENT, "mask_policy": "block", "eval_iterations": [1, 4], "metric_for_best_model": "bleu_4",
}  # fmt: skip
_PHRASEBOOK_ALIGNMENT = {
    "max_steps": 1800, "eval_steps": 300, "lr_scheduler_kwargs": {"num_decay_steps": 900, "min_lr_ratio": 0.02},
}  # fmt: skip
# dims_hf/recipes/library/phrasebook_imputer_dims.yaml: the paper's values (Appendix F)
_IMPUTER_STUDENT = {
    "teacher_iterations": 2, "ema_decay": None, "hidden_weight": 0.0, "mask_policy": "block", "imputer_labels": "hard",
    "temperature": None, "length_weight": None,
}  # fmt: skip
# dims_hf/recipes/library/phrasebook_dims.yaml, shorter: most of the gain is there after a third of its updates
_PHRASEBOOK_STUDENT = {
    **_SHORT_CPU_RUN,
    "teacher_iterations": 4, "ema_decay": 0.997, "hidden_weight": 0.7, "temperature": 0.5, "length_weight": 0.1,
    "mask_policy": "uniform", "learning_rate": 1e-3, "warmup_steps": 50, "lr_scheduler_type": "linear",
    "max_steps": 500, "eval_steps": 50, "eval_iterations": [1], "num_best_checkpoints": 3, "save_steps": 50,
    "logging_steps": 50,
}  # fmt: skip
# dims_hf/recipes/library/phrasebook_autoregressive.yaml
_PHRASEBOOK_AUTOREGRESSIVE = {
    **_PHRASEBOOK_MODEL, **_SHORT_CPU_RUN,
    "learning_rate": 2e-3, "warmup_steps": 200, "lr_scheduler_type": "warmup_stable_decay",
    "lr_scheduler_kwargs": {"num_decay_steps": 500, "min_lr_ratio": 0.02}, "max_steps": 1500,
    "label_smoothing_factor": 0.1, "eval_steps": 250, "num_best_checkpoints": 2, "save_steps": 250,
    "logging_steps": 50,
}  # fmt: skip
_DISTILLED_DATA = {
    "num_beams": 5, "max_tokens_per_batch": 16384, "shard_size": 2000, "max_length_ratio": 3.0, "drop_copies": True,
}  # fmt: skip

# dims_hf/recipes/library/tatoeba_en_de_teacher.yaml
_TATOEBA_MODEL = {
    "vocab_size": 8000, "d_model": 256, "encoder_layers": 3, "decoder_layers": 3, "attention_heads": 4,
    "ffn_dim": 512, "dropout": 0.1, "max_position_embeddings": 256,
}  # fmt: skip
_TATOEBA_TEACHER = {
    **_TATOEBA_MODEL, **_SHORT_CPU_RUN, "save_total_limit": 2,
    "learning_rate": 1e-3, "warmup_steps": 1000, "lr_scheduler_type": "warmup_stable_decay",
    "lr_scheduler_kwargs": {"num_decay_steps": 3500, "min_lr_ratio": 0.02}, "max_steps": 9000, "label_smoothing": 0.1,
    "eval_steps": 500, "eval_iterations": [1, 4], "metric_for_best_model": "bleu_4", "num_best_checkpoints": 5,
    "save_steps": 500, "logging_steps": 50,
}  # fmt: skip
# dims_hf/recipes/library/tatoeba_en_de_dims.yaml
_TATOEBA_STUDENT = {
    **_SHORT_CPU_RUN, "save_total_limit": 2,
    "teacher_iterations": 4, "ema_decay": None, "hidden_weight": 0.0, "temperature": 0.5, "length_weight": 0.1,
    "mask_policy": "full", "learning_rate": 5e-4, "warmup_steps": 100, "lr_scheduler_type": "linear",
    "max_steps": 3500, "eval_steps": 250, "eval_iterations": [1], "num_best_checkpoints": 5, "save_steps": 250,
    "logging_steps": 50,
}  # fmt: skip
# dims_hf/recipes/library/tatoeba_en_de_autoregressive.yaml
_TATOEBA_AUTOREGRESSIVE = {
    **_TATOEBA_MODEL, **_SHORT_CPU_RUN, "save_total_limit": 2,
    "learning_rate": 1e-3, "warmup_steps": 1000, "lr_scheduler_type": "warmup_stable_decay",
    "lr_scheduler_kwargs": {"num_decay_steps": 3000, "min_lr_ratio": 0.02}, "max_steps": 7000,
    "label_smoothing_factor": 0.1, "eval_steps": 500, "early_stopping_patience": 6, "num_best_checkpoints": 5,
    "save_steps": 500, "logging_steps": 50,
}  # fmt: skip

# dims_hf/recipes/library/tatoeba_en_de_{imputer,ctc,fullynat}_teacher.yaml
_TATOEBA_IMPUTER = {**_IMPUTER, "ctc_steps": 2000}

# A smaller model and shorter runs on the same text: an afternoon on two cores without bf16.
_SMALL_SIZE = {"vocab_size": 4000, "d_model": 128, "encoder_layers": 2, "decoder_layers": 2, "ffn_dim": 256}
_SMALL_LENGTH = {
    "learning_rate": 2e-3, "warmup_steps": 200, "max_steps": 2000, "eval_steps": 500, "save_steps": 500,
    "lr_scheduler_kwargs": {"num_decay_steps": 1200, "min_lr_ratio": 0.02}, "num_best_checkpoints": 0,
}  # fmt: skip
_SMALL_STUDENT = {"learning_rate": 1e-3, "max_steps": 500, "warmup_steps": 50, "eval_steps": 100, "save_steps": 100}

# One GPU: the paper's model at its published schedules, shortened, on a corpus of some hundred thousand pairs.
_GPU_MODEL = {
    "vocab_size": 8000, "d_model": 512, "encoder_layers": 6, "decoder_layers": 6, "attention_heads": 8,
    "ffn_dim": 2048, "dropout": 0.2, "max_position_embeddings": 256,
}  # fmt: skip
_GPU_RUN = {**_EVALUATED, "save_total_limit": 2, "max_grad_norm": 1.0, "num_best_checkpoints": 5, "logging_steps": 100}
_GPU_TEACHER = {
    **_GPU_MODEL, **_GPU_RUN,
    "learning_rate": 5e-4, "warmup_steps": 4000, "lr_scheduler_type": "inverse_sqrt", "max_steps": 60_000,
    "label_smoothing": 0.1, "eval_steps": 2000, "eval_iterations": [1, 4], "metric_for_best_model": "bleu_4",
    "save_steps": 2000,
}  # fmt: skip
_GPU_STUDENT = {
    **_GPU_RUN,
    "teacher_iterations": 2, "ema_decay": 0.9992, "hidden_weight": 0.7, "temperature": 0.5, "length_weight": 0.1,
    "mask_policy": "uniform", "learning_rate": 5e-4, "warmup_steps": 500, "lr_scheduler_type": "linear",
    "max_steps": 10_000, "eval_steps": 500, "eval_iterations": [1], "save_steps": 500,
}  # fmt: skip
_GPU_AUTOREGRESSIVE = {
    **_GPU_MODEL, **_GPU_RUN,
    "learning_rate": 5e-4, "warmup_steps": 4000, "lr_scheduler_type": "inverse_sqrt", "max_steps": 40_000,
    "label_smoothing_factor": 0.1, "eval_steps": 2000, "early_stopping_patience": 6, "save_steps": 2000,
}  # fmt: skip

# Many GPUs: dims_hf/recipes/library/wmt*.yaml, that is the presets, which cite their sources.
_PAPER_MODEL = {
    "vocab_size": 40_000, "d_model": 512, "encoder_layers": 6, "decoder_layers": 6, "attention_heads": 8,
    "ffn_dim": 2048, "max_position_embeddings": 256,
}  # fmt: skip
_PAPER_RUN = {**_EVALUATED, "save_total_limit": 2, "num_best_checkpoints": 5, "logging_steps": 100}
_PAPER_TEACHER = {
    "preset": "fairseq_cmlm_teacher", **_PAPER_MODEL, **_PAPER_RUN,
    "max_steps": 300_000, "eval_steps": 5000, "save_steps": 5000, "eval_iterations": [1, 4],
    "metric_for_best_model": "bleu_4",
}  # fmt: skip
# Published values are for length predictors and smoothed labels: schedule and optimiser alone apply to alignments.
_PAPER_ALIGNMENT = {"learning_rate": 5e-4, "warmup_steps": 10_000, "dropout": 0.1}
_PAPER_STUDENT = {
    "preset": "paper_dims", **_PAPER_RUN,
    "teacher_iterations": 2, "ema_decay": 0.9992, "hidden_weight": 0.7, "mask_policy": "uniform",
    "max_steps": 15_000, "eval_steps": 750, "save_steps": 750, "early_stopping_patience": 50,
}  # fmt: skip
_PAPER_AUTOREGRESSIVE = {
    **_PAPER_MODEL, **_PAPER_RUN,
    "dropout": 0.1, "learning_rate": 5e-4, "warmup_steps": 4000, "lr_scheduler_type": "inverse_sqrt",
    "max_steps": 100_000, "max_grad_norm": 0.0, "label_smoothing_factor": 0.1, "eval_steps": 5000, "save_steps": 5000,
}  # fmt: skip

# Measured on two cores with one thread each; `pass` is a teacher pass, and the sum is an update of a student.
_PHRASEBOOK_SECONDS = {
    "teacher": 0.067, "cmlmc": 0.15, "imputer": 0.2, "ctc": 0.15, "fullynat": 0.2, "student": 0.075, "pass": 0.0175,
    "autoregressive": 0.09, "sentence": 0.005, "start": 30.0, "evaluation": 4.0,
}  # fmt: skip
_TATOEBA_SECONDS = {
    "teacher": 0.15, "cmlmc": 0.35, "imputer": 0.5, "ctc": 0.35, "fullynat": 0.5, "student": 0.3, "pass": 0.06,
    "autoregressive": 0.2, "sentence": 0.01, "start": 60.0, "evaluation": 20.0,
}  # fmt: skip
_SMALL_SECONDS = {
    "teacher": 0.3, "cmlmc": 0.6, "imputer": 0.9, "ctc": 0.7, "fullynat": 0.9, "student": 0.3, "pass": 0.06,
    "autoregressive": 0.3, "sentence": 0.005, "start": 60.0, "evaluation": 20.0,
}  # fmt: skip
# Guesses, to plan with.
_GPU_SECONDS = {
    "teacher": 0.06, "cmlmc": 0.12, "imputer": 0.16, "ctc": 0.12, "fullynat": 0.16, "student": 0.07, "pass": 0.012,
    "autoregressive": 0.06, "sentence": 0.002, "start": 60.0, "evaluation": 20.0,
}  # fmt: skip

_CPU_PHRASEBOOK = Budget(
    seeds=[1, 2, 3],
    precision="bf16",
    tokens_per_update=2048,
    max_tokens_per_process=2048,
    teacher_settings=_PHRASEBOOK_TEACHER,
    cmlmc_settings=_PHRASEBOOK_CMLMC,
    imputer_settings={**_IMPUTER, **_PHRASEBOOK_ALIGNMENT, "ctc_steps": 600},
    ctc_settings={**_CTC, **_PHRASEBOOK_ALIGNMENT},
    fullynat_settings={**_FULLYNAT, **_PHRASEBOOK_ALIGNMENT},
    student_settings=_PHRASEBOOK_STUDENT,
    imputer_student_settings=_IMPUTER_STUDENT,
    autoregressive_settings=_PHRASEBOOK_AUTOREGRESSIVE,
    distilled_data_settings=_DISTILLED_DATA,
    ema_decay=0.997,
    ema_decays=[None, 0.9, 0.99, 0.997, 0.9992],
    collapse_decays=[0.9],
    hidden_weights=[0.0, 0.7, 2.0],
    teacher_iterations=[2, 4, 8],
    rounds=3,
    families=["cmlm", "cmlmc"],
    distilled_families=["cmlm"],
    iterations=[1, 2, 4, 8, 10],
    length_edges=[8, 10, 12],
    seconds=_PHRASEBOOK_SECONDS,
    max_train_examples=60_000,
    max_valid_examples=300,
)
_CPU_OTHER = replace(
    _CPU_PHRASEBOOK,
    seeds=[1],
    teacher_settings=_TATOEBA_TEACHER,
    cmlmc_settings={},
    imputer_settings=_TATOEBA_IMPUTER,
    ctc_settings=_CTC,
    fullynat_settings=_FULLYNAT,
    student_settings=_TATOEBA_STUDENT,
    autoregressive_settings=_TATOEBA_AUTOREGRESSIVE,
    length_edges=[5, 8, 12, 16],
    seconds=_TATOEBA_SECONDS,
    # A dozen students in an afternoon, each a quarter of the recipe's.
    max_student_steps=800,
    max_train_examples=None,
    max_valid_examples=500,
)
_CPU_SMALL = replace(
    _CPU_OTHER,
    teacher_settings={**_TATOEBA_TEACHER, **_SMALL_SIZE, **_SMALL_LENGTH},
    imputer_settings={**_IMPUTER, "ctc_steps": 1000},
    student_settings={**_TATOEBA_STUDENT, **_SMALL_STUDENT},
    autoregressive_settings={**_TATOEBA_AUTOREGRESSIVE, **_SMALL_SIZE, **_SMALL_LENGTH},
    seconds=_SMALL_SECONDS,
    max_student_steps=None,
    max_valid_examples=300,
)
_ONE_GPU = replace(
    _CPU_OTHER,
    seeds=[1, 2, 3],
    tokens_per_update=16_384,
    max_tokens_per_process=16_384,
    teacher_settings=_GPU_TEACHER,
    student_settings=_GPU_STUDENT,
    autoregressive_settings=_GPU_AUTOREGRESSIVE,
    ema_decay=0.9992,
    ema_decays=[None, 0.9, 0.99, 0.999, 0.9992, 0.9999],
    hidden_weights=[0.0, 0.3, 0.7, 1.0, 2.0],
    distilled_families=["cmlm", "cmlmc"],
    rounds=5,
    length_edges=[10, 20, 30, 40],
    seconds=_GPU_SECONDS,
    max_student_steps=None,
    max_valid_examples=1000,
)
_MANY_GPUS = replace(
    _ONE_GPU,
    seeds=[1],
    precision="fp16",
    tokens_per_update=32_768,
    max_tokens_per_process=8192,
    teacher_settings=_PAPER_TEACHER,
    cmlmc_settings={"preset": "released_cmlmc_teacher"},
    imputer_settings={**_IMPUTER, "preset": None, **_PAPER_ALIGNMENT, "ctc_steps": 50_000},
    ctc_settings={**_CTC, "preset": None, **_PAPER_ALIGNMENT},
    fullynat_settings={**_FULLYNAT, "preset": None, **_PAPER_ALIGNMENT},
    student_settings=_PAPER_STUDENT,
    autoregressive_settings=_PAPER_AUTOREGRESSIVE,
    rounds=9,
    max_valid_examples=None,
)

# name -> corpus (the embedded one, or any other) -> budget
BUDGETS: dict[str, dict[str, Budget]] = {
    "cpu-small": {EMBEDDED_CORPUS: replace(_CPU_PHRASEBOOK, seeds=[1]), "other": _CPU_SMALL},
    "cpu-afternoon": {EMBEDDED_CORPUS: _CPU_PHRASEBOOK, "other": _CPU_OTHER},
    "one-gpu": {
        EMBEDDED_CORPUS: replace(
            _CPU_PHRASEBOOK,
            max_train_examples=200_000,
            max_teacher_steps=10_000,
            max_student_steps=4000,
            seconds=_GPU_SECONDS,
        ),
        "other": _ONE_GPU,
    },
    "many-gpus": {"other": _MANY_GPUS},
}
