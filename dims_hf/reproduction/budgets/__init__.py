# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""How large the experiments are: the YAML files beside this one, each a table of sizes over recipes of the library."""

from __future__ import annotations

import copy
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, make_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from dims_hf.data.corpora import EMBEDDED_CORPUS
from dims_hf.recipes import LIBRARY
from dims_hf.reports import read_yaml


PRECISIONS = ("fp32", "bf16", "fp16")

# Settings that stretch and shrink with the length of a run.
_SCALED = ("warmup_steps", "ctc_steps", "eval_steps", "save_steps", "logging_steps")

# What a recipe says of its corpus, its machine and its folders: a study says it for all its runs.
_OF_THE_STUDY = (
    "data", "data_config", "source_lang", "target_lang", "max_train_examples", "max_valid_examples", "drop_bad_rows",
    "teacher", "init", "autoregressive_teacher", "tokenizer", "output_dir", "bf16", "fp16", "seed", "disable_tqdm",
    "max_tokens_per_batch", "num_train_epochs",
)  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """
    The sizes of every run.

    Settings (`…_settings`) are those of the training commands; in the YAML files they say what differs from a `recipe`
    of the library, or, with `unlike`, what that recipe has that another one has not. Lengths scale warm-up, decay and
    evaluations.
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
    one_pass_recipes: str = field(metadata={"help": "Corpus in the names of the recipes of Table 1."})
    one_pass_updates: int = field(metadata={"help": "Time of every system of Table 1, in updates of a CMLM."})
    ema_decay: float = field(metadata={"help": "Momentum where an experiment wants a moving average."})
    ema_decays: list[float | None] = field(metadata={"help": "Momenta of Fig. 7; none = fixed teacher."})
    collapse_decays: list[float] = field(metadata={"help": "Momenta that should collapse."})
    hidden_weights: list[float] = field(metadata={"help": "Values of λ in Fig. 8."})
    teacher_iterations: list[int] = field(metadata={"help": "Teacher passes n of Table 5."})
    rounds: int = field(metadata={"help": "Rounds of Fig. 4."})
    families: list[str] = field(metadata={"help": "Teachers of Tables 1 and 7 on raw data."})
    distilled_families: list[str] = field(metadata={"help": "Teachers of Tables 1, 3 and 7 on distilled data."})
    iterations: list[int] = field(metadata={"help": "Decoder passes of the quality curves."})
    seconds: dict[str, float] = field(metadata={"help": "Assumed seconds of an update, a pass, a start, …"})
    one_pass_settings: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "What differs from teacher_settings for all systems of Table 1."}
    )
    one_pass_corpora: list[str] = field(
        default_factory=lambda: ["raw", "distilled"], metadata={"help": "Targets of Table 1: raw, distilled or both."}
    )
    last_stage_share: float = field(
        default=0.25, metadata={"help": "Share of that time for a student, and for every last stage."}
    )
    num_speed_sentences: int = field(default=64, metadata={"help": "Sentences that milliseconds are measured on."})
    num_length_buckets: int = field(default=5, metadata={"help": "Buckets of target lengths in Fig. 5."})
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
        if len(set(self.seeds)) < len(self.seeds) or not all(0 <= seed < 2**32 for seed in self.seeds):
            raise ValueError(f"seeds must be different numbers from 0 to {2**32 - 1}, got {self.seeds}. Try 1 2 3.")
        if min(self.iterations) < 1 or 1 not in self.iterations:
            raise ValueError(f"iterations must be >= 1 and have 1 among them, got {self.iterations}. Try 1 2 4 10.")
        for name in (
            "tokens_per_update",
            "max_tokens_per_process",
            "rounds",
            "round_patience",
            "num_samples",
            "one_pass_updates",
            "num_speed_sentences",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}.")
        if not 0 < self.last_stage_share < 0.5:
            raise ValueError(f"last_stage_share must lie between 0 and 0.5, got {self.last_stage_share}. Use 0.25.")
        if not set(self.one_pass_corpora) <= {"raw", "distilled"} or not self.one_pass_corpora:
            raise ValueError(f"one_pass_corpora takes raw and distilled, got {self.one_pass_corpora}.")


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
    kind = EMBEDDED_CORPUS if data == EMBEDDED_CORPUS and EMBEDDED_CORPUS in _read(name) else "other"
    values = _values(name, kind)
    budget = Budget(
        **{field: _settings(each) if field.endswith("_settings") else each for field, each in values.items()}
    )
    changes = {}
    for field_name, value in (overrides or {}).items():
        if isinstance(value, Mapping):
            value = {**getattr(budget, field_name), **value}
        changes[field_name] = value
    return replace(budget, **changes)


def _values(name: str, kind: str) -> dict[str, Any]:
    """The fields of a budget as its file has them, over those of the budget it is `like`."""
    values = dict(_read(name)[kind])
    like = values.pop("like", None)
    return {**(_values(*like.split()) if like else {}), **values}


@cache
def _read(name: str) -> dict[str, Any]:
    return read_yaml(Path(__file__).with_name(f"{name}.yaml"))


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a training command: those of the recipe they start from, with what differs."""
    values = copy.deepcopy(dict(values))
    recipe, other = values.pop("recipe", None), values.pop("unlike", None)
    if recipe is None:
        return values
    base = _library(recipe)
    if other is not None:
        # differences, in which none means that a setting is left out
        theirs = _library(other)
        gone = dict.fromkeys(theirs.keys() - base.keys())
        return {**gone, **{each: value for each, value in base.items() if theirs.get(each) != value}, **values}
    dropped = {each for each, value in values.items() if value is None and each != "ema_decay"}
    return {each: value for each, value in {**base, **values}.items() if each not in dropped}


def find_differences(recipe: str, other: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What a recipe of the library has that another one has not, with further changes; none: it is left out."""
    return _settings({"recipe": recipe, "unlike": other, **changes})


@cache
def _library(recipe: str) -> dict[str, Any]:
    """What a recipe of the library says of its method, model and schedule."""
    values = read_yaml(LIBRARY / f"{recipe}.yaml")
    return {name: value for name, value in values.items() if name not in _OF_THE_STUDY}


# From the smallest on.
BUDGETS = ("cpu-small", "cpu-afternoon", "one-gpu", "many-gpus")

_HINTS = typing.get_type_hints(Budget)

# Every field of a budget, none of them needed: what the command line may override.
BudgetOverrides = make_dataclass(
    "BudgetOverrides",
    [(each.name, _HINTS[each.name] | None, field(default=None, metadata=each.metadata)) for each in fields(Budget)],
)
BudgetOverrides.__doc__ = "Values of the budget to replace; none keeps the budget's."
