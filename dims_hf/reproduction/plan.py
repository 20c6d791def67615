# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The experiments: what the paper claims (`experiments.yaml`), the runs that show it, and how they are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dims_hf.reports import read_yaml
from dims_hf.reproduction import claims, figures, tables
from dims_hf.reproduction.claims import Claim
from dims_hf.reproduction.documents import SCHEMA_VERSION
from dims_hf.reproduction.one_pass import SYSTEMS, one_pass_run, systems_on
from dims_hf.reproduction.one_pass_table import add_costs_and_speed, draw_table, one_pass_table
from dims_hf.reproduction.running import Decodings
from dims_hf.reproduction.study import DISTILLED, FAMILIES, RAW, Family, Run, Study, in_order


PAPER = "Norouzi et al. 2023 (arXiv 2206.02999)"

PAPER_HIDDEN_WEIGHT = 0.7

# Decoder passes of Imputers in Table 2: as long as the blocks they are trained on.
_IMPUTER_PASSES = (1, 2, 4, 8)

# A student of an Imputer that is trained as it decodes, from masks alone, on what its teacher reaches in four passes.
_AS_DECODED = {"mask_policy": "full", "teacher_iterations": 4}


class System(NamedTuple):
    """
    A run of an experiment, and the decoder passes its model is evaluated at, or names of decodings with their
    arguments of `generate`; none: its training log is all.
    """

    run: Run
    iterations: Sequence[int] | Decodings = ()


Systems = dict[str, System]


@dataclass(frozen=True)
class Experiment:
    """
    A table or figure of the paper.

    Args:
        systems (`Callable[[Study, int], Systems]`): label to run, for one seed.
        claims (`Callable`): from the document to what is checked of it.
        table (`Callable`): from the document to header and rows.
        figure (`Callable`, *optional*): draws the document into a file.
        adds (`Callable`, *optional*): adds to the document what is read from files of its runs.
        by_name_only (`bool`): too large to be made where no experiment is named.
        title (`str`): what is shown.
        source (`str`): where in the paper.
        claim (`str`): what the paper says of it, in our words and without its numbers.
    """

    systems: Callable[[Study, int], Systems]
    claims: Callable[[Mapping[str, Any]], list[Claim]]
    table: Callable[[Mapping[str, Any]], tables.Table]
    figure: Callable[[Mapping[str, Any], Path], Path] | None = None
    adds: Callable[[dict[str, Any], Any], None] | None = None
    by_name_only: bool = False
    title: str = ""
    source: str = ""
    claim: str = ""


def systems_of(name: str, study: Study) -> dict[int, Systems]:
    """Seed to label to run of an experiment."""
    return {seed: EXPERIMENTS[name].systems(study, seed) for seed in study.budget.seeds}


def runs_of(names: Sequence[str], study: Study) -> list[Run]:
    """All runs of some experiments, each once, in the order of work: a seed after the other."""
    systems = [EXPERIMENTS[name].systems(study, seed) for seed in study.budget.seeds for name in names]
    return in_order(system.run for labelled in systems for system in labelled.values())


def head_of(name: str) -> dict[str, Any]:
    """What every document of an experiment starts with."""
    experiment = EXPERIMENTS[name]
    return {
        "schema_version": SCHEMA_VERSION,
        "experiment": name,
        "title": experiment.title,
        "source": f"{experiment.source} of {PAPER}",
        "claim": experiment.claim,
    }


def find_experiments(names: Sequence[str] | None) -> list[str]:
    """
    The experiments asked for, in the order of the paper; without a request, all but those made by name only.

    Raises:
        ValueError: for a name that is none.
    """
    for name in names or ():
        if name not in EXPERIMENTS:
            raise ValueError(f"There is no experiment {name!r}. Choose from {', '.join(EXPERIMENTS)}.")
    if names is None:
        return [name for name, experiment in EXPERIMENTS.items() if not experiment.by_name_only]
    return [name for name in EXPERIMENTS if name in names]


# ---- runs ----


def _curves(study: Study, seed: int) -> Systems:
    passes = study.budget.iterations
    return {"teacher": System(study.teacher(seed), passes), "student": System(study.student(seed), passes)}


def _one_pass(study: Study, seed: int) -> Systems:
    return {"teacher": System(study.teacher(seed), (1,)), "student": System(study.student(seed), (1,))}


def _rounds(study: Study, seed: int) -> Systems:
    budget = study.budget
    in_rounds = study.student(
        seed, ema_decay=None, rounds=budget.rounds, early_stopping_patience=budget.round_patience
    )
    return {
        "teacher": System(study.teacher(seed), (1,)),
        "moving average": System(study.student(seed, ema_decay=budget.ema_decay), (1,)),
        "rounds": System(in_rounds, (1,)),
    }


def _momentum(study: Study, seed: int) -> Systems:
    return {_momentum_label(decay): System(study.student(seed, ema_decay=decay)) for decay in study.budget.ema_decays}


def _momentum_label(decay: float | None) -> str:
    """`fixed teacher` or `μ = 0.9992`."""
    return "fixed teacher" if decay is None else f"μ = {decay:g}"


def _weights(study: Study, seed: int) -> Systems:
    return {
        f"λ = {weight:g}": System(study.student(seed, hidden_weight=weight), (1,))
        for weight in sorted(study.budget.hidden_weights)
    }


def _costs(study: Study, seed: int) -> Systems:
    return {"teacher": System(study.teacher(seed)), "student": System(study.student(seed))}


def _corpora(study: Study, seed: int) -> Systems:
    """A teacher's first and last number of passes beside one pass of its student, on raw and distilled data."""
    ends = (1, max(study.budget.iterations))
    systems: Systems = {}
    for family, corpus in _teachers(study):
        label = f"{FAMILIES[family].label}, {corpus}"
        systems[f"{label} teacher"] = System(study.teacher(seed, family, corpus), ends)
        systems[f"{label} student"] = System(study.student(seed, family, corpus), (1,))
    return systems


def _teachers(study: Study) -> list[tuple[str, str]]:
    budget = study.budget
    pairs = [*((family, RAW) for family in budget.families)]
    pairs += [(family, DISTILLED) for family in budget.distilled_families]
    for family, _ in pairs:
        _family(family)
    return pairs


def _one_pass_systems(study: Study, seed: int) -> Systems:
    """Every system that can translate in one pass, at one budget of time, on every corpus of the budget."""
    return {
        f"{name}, {corpus}": System(one_pass_run(study, name, seed, corpus), SYSTEMS[name].decodings)
        for corpus in study.budget.one_pass_corpora
        for name in systems_on(corpus)
    }


def _family(name: str) -> Family:
    if name not in FAMILIES:
        raise ValueError(f"There is no family {name!r} of teachers. Choose from {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def _alignments(study: Study, seed: int) -> Systems:
    """Alignment-based models, the students among them, beside models that predict a length."""
    most, decay = max(study.budget.iterations), study.budget.ema_decay
    systems = {
        "CTC": System(study.teacher(seed, "ctc"), (1,)),
        "FullyNAT": System(study.teacher(seed, "fullynat"), (1,)),
        "Imputer teacher": System(study.teacher(seed, "imputer"), _IMPUTER_PASSES),
        "Imputer student": System(study.student(seed, "imputer"), (1,)),
        "Imputer student, moving average": System(study.student(seed, "imputer", ema_decay=decay), (1,)),
        "Imputer student, all masked, n = 4": System(study.student(seed, "imputer", **_AS_DECODED), (1,)),
    }
    for family, corpus in _teachers(study):
        if corpus != RAW or FAMILIES[family].writes_alignments:
            continue
        name = FAMILIES[family].label
        systems[f"{name} teacher"] = System(study.teacher(seed, family), (1, most))
        systems[f"{name} student"] = System(study.student(seed, family), (1,))
    return systems


def _unsupervised(study: Study, seed: int) -> Systems:
    """CMLM, and every further family with a length predictor that the budget has teachers of."""
    systems: Systems = {}
    for family in dict.fromkeys(("cmlm", *study.budget.families)):
        kind = _family(family)
        if not kind.writes_alignments:
            prefix = "" if family == "cmlm" else f"{kind.label} "
            systems[f"{prefix}teacher"] = System(study.teacher(seed, family), (1,))
            systems[f"{prefix}U-DiMS"] = System(study.student(seed, family, unsupervised=True), (1,))
            systems[f"{prefix}DiMS"] = System(study.student(seed, family), (1,))
    return systems


def _one_pass_of_teacher(study: Study, seed: int) -> Systems:
    return {"teacher": System(study.teacher(seed), (1,))}


def _ablation(study: Study, seed: int) -> Systems:
    budget, usual = study.budget, study.budget.student_settings
    decay, passes, policy = budget.ema_decay, usual["teacher_iterations"], usual["mask_policy"]
    other_policy = "full" if policy == "uniform" else "uniform"
    # All parts of the loss, whatever the budget's students leave out.
    full = {"ema_decay": decay, "hidden_weight": usual["hidden_weight"] or PAPER_HIDDEN_WEIGHT}
    changes = {
        f"DiMS (n = {passes}, moving average, {policy} masks)": {},
        "fixed teacher": {"ema_decay": None},
        "fixed teacher, no hidden-state loss": {"ema_decay": None, "hidden_weight": 0.0},
    }
    for count in budget.teacher_iterations:
        if count != passes:
            changes[f"n = {count}"] = {"teacher_iterations": count}
            changes[f"n = {count}, fixed teacher"] = {"teacher_iterations": count, "ema_decay": None}
    changes[f"{other_policy} masks"] = {"mask_policy": other_policy}
    students = {label: System(study.student(seed, **full | change), (1,)) for label, change in changes.items()}
    return {**_one_pass_of_teacher(study, seed), **students}


def _teachers_at_ten(study: Study, seed: int) -> Systems:
    ends = (1, max(study.budget.iterations))
    return {
        f"{FAMILIES[family].label}, {corpus}": System(study.teacher(seed, family, corpus), ends)
        for family, corpus in _teachers(study)
    }


def _collapse(study: Study, seed: int) -> Systems:
    decays = [study.budget.ema_decay, *sorted(study.budget.collapse_decays, reverse=True)]
    return {_momentum_label(decay): System(study.student(seed, ema_decay=decay)) for decay in decays}


# ---- name -> runs, claims, table and figure; the words about them are in `experiments.yaml` ----

_WORDS = read_yaml(Path(__file__).with_name("experiments.yaml"))
_PARTS: dict[str, tuple[Any, ...]] = {
    "fig3": (_curves, claims.of_iterations, tables.scores, figures.quality_versus_iterations),
    "fig4": (_rounds, claims.of_rounds, tables.rounds, figures.rounds),
    "fig5": (_one_pass, claims.of_buckets, tables.length_buckets, figures.length_buckets),
    "fig6": (_one_pass, claims.of_lengths, tables.lengths, figures.lengths),
    "fig7": (_momentum, claims.of_momentum, tables.last_validation, figures.validation_curves),
    "fig8": (_weights, claims.of_weights, tables.scores, figures.weights),
    "fig9": (_costs, claims.of_costs, tables.costs, figures.costs),
    "table1": (_one_pass_systems, claims.of_systems, one_pass_table, draw_table, add_costs_and_speed, True),
    "table2": (_alignments, claims.of_alignments, tables.timed_scores),
    "table3": (_corpora, claims.of_corpora, tables.scores),
    "table4": (_unsupervised, claims.of_unsupervised, tables.scores),
    "table5": (_ablation, claims.of_ablation, tables.scores),
    "table6": (_one_pass, claims.of_samples, tables.samples, None, tables.add_samples),
    "table7": (_teachers_at_ten, claims.of_teachers, tables.scores),
    "collapse": (_collapse, claims.of_collapse, tables.last_validation, figures.validation_curves),
}
EXPERIMENTS = {name: Experiment(*_PARTS[name], **words) for name, words in _WORDS.items()}
