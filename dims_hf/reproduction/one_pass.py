# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The systems of Table 1 (`one_pass.yaml`) at one budget of time each: their runs, and what they cost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dims_hf.reports import read_yaml
from dims_hf.reproduction.budgets import find_differences, with_length
from dims_hf.reproduction.study import DISTILLED, RAW, Run, Study, changed


@dataclass(frozen=True)
class OnePassSystem:
    """
    A system of Table 1.

    Args:
        recipe (`str`): of the library, without its corpus.
        cost (`float`): CPU time of an update beside one of CMLM's.
        decodings (`Mapping[str, Mapping[str, Any]]`): name to arguments of `generate`.
        init, teacher (`str`, *optional*): the system whose model goes on learning, or is distilled.
        settings (`Mapping[str, Any]`): what differs from the recipe; none = left out.
        with_autoregressive (`bool`): the method looks at the autoregressive teacher of the distilled corpus.
        chosen_targets (`bool`): it learns from several translations of that teacher, the first of them chosen by EM.
    """

    recipe: str
    cost: float
    decodings: Mapping[str, Mapping[str, Any]]
    init: str | None = None
    teacher: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    with_autoregressive: bool = False
    chosen_targets: bool = False

    @property
    def begins_with(self) -> str | None:
        """The system that is trained before it."""
        return self.init or self.teacher

    @property
    def is_autoregressive(self) -> bool:
        """Whether it is the peer."""
        return self.recipe == AUTOREGRESSIVE


AUTOREGRESSIVE = "autoregressive"
# Chooses the targets of EM.
_SELECTOR = "FullyNAT"
_NUM_HYPOTHESES = 5

SYSTEMS: dict[str, OnePassSystem] = {
    name: OnePassSystem(**values)
    for name, values in read_yaml(Path(__file__).with_name("one_pass.yaml"))["systems"].items()
}


def systems_on(corpus: str) -> list[str]:
    """Names of the systems that a corpus trains: targets that EM chooses are distilled ones."""
    return [name for name, system in SYSTEMS.items() if corpus == DISTILLED or not system.chosen_targets]


def one_pass_run(study: Study, name: str, seed: int, corpus: str, *, num_later: int = 0) -> Run:
    """
    The training of a system for its share of the budget's time.

    Args:
        study ([`Study`]): corpus and budget.
        name (`str`): of the system.
        seed (`int`): of this training and of those before it.
        corpus (`str`): `raw` or `distilled` targets.
        num_later (`int`): last stages that follow it, each of which takes its share of the time.
    """
    system, budget = SYSTEMS[name], study.budget
    updates = num_updates(study, name, num_later=num_later)
    kind = "autoregressive" if system.is_autoregressive else "student" if system.teacher else "teacher"
    settings = with_length(_settings(study, system), updates)
    # every system has the same time, and none of it is taken back
    settings.pop("early_stopping_patience", None)
    needs: dict[str, Run] = {}
    if system.begins_with:
        role = "teacher" if system.teacher else "init"
        needs[role] = one_pass_run(study, system.begins_with, seed, corpus, num_later=num_later + 1)
    else:
        needs["tokenizer"] = study.autoregressive()
    if system.with_autoregressive:
        needs["autoregressive_teacher"] = study.autoregressive()
    if system.chosen_targets and study.dry_steps is None:
        needs["data"] = chosen_data(study)
    elif system.chosen_targets:
        settings.pop("max_references", None)  # a dry run's slice has one target of each source
    folder = f"one-pass-{re.sub(r'[^a-z0-9]+', '-', name.lower())}-{corpus}-seed{seed}"
    seconds = system.cost * updates * settings.get("rounds", 1) * budget.seconds["teacher"]
    return study.training(kind, folder, settings, seed, corpus, seconds, needs)


def num_updates(study: Study, name: str, *, num_later: int = 0) -> int:
    """Updates of a system, of each round where it has several; `num_later` as for [`one_pass_run`]."""
    system, budget = SYSTEMS[name], study.budget
    share = budget.last_stage_share if system.begins_with else 1 - num_later * budget.last_stage_share
    return max(1, round(share * budget.one_pass_updates / system.cost / system.settings.get("rounds", 1)))


def stages_of(name: str) -> list[str]:
    """The systems that are trained for a system, itself last."""
    before = SYSTEMS[name].begins_with
    return [*(stages_of(before) if before else ()), name]


def chosen_data(study: Study) -> Run:
    """The corpus of EM: of the best translations of each source, the one that a one-pass model likes most first."""
    distilled = study.distilled_data()
    settings = {**distilled.settings, "num_hypotheses": _NUM_HYPOTHESES}
    selector = one_pass_run(study, _SELECTOR, study.budget.seeds[0], RAW)
    needs = {**distilled.needs, "selector": selector}
    return Run("distilled_data", "chosen-data", settings, needs, seconds=2 * distilled.seconds)


def _settings(study: Study, system: OnePassSystem) -> dict[str, Any]:
    """Those of the budget's teachers or students, with what tells the system's recipe from theirs."""
    budget, prefix = study.budget, study.budget.one_pass_recipes
    if system.is_autoregressive:
        return dict(budget.autoregressive_settings)
    usual = "dims" if system.teacher else "teacher"
    base = budget.student_settings if system.teacher else changed(budget.teacher_settings, budget.one_pass_settings)
    differences = find_differences(f"{prefix}_{system.recipe}", f"{prefix}_{usual}", system.settings)
    model = {} if system.teacher else {"model_type": "cmlm"}
    return changed({**model, **base}, differences)
