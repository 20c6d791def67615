# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The experiments as data: what the paper claims, the runs that show it, and how they are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dims_hf.reproduction import figures, tables, verdicts
from dims_hf.reproduction.documents import SCHEMA_VERSION
from dims_hf.reproduction.study import DISTILLED, FAMILIES, RAW, Run, Study, in_order


PAPER = "Norouzi et al. 2023 (arXiv 2206.02999)"

PAPER_HIDDEN_WEIGHT = 0.7

# Decoder passes of Imputers in Table 2: as long as the blocks they are trained on.
_IMPUTER_PASSES = (1, 2, 4, 8)

# A student of an Imputer that is trained as it decodes, from masks alone, on what its teacher reaches in four passes.
_AS_DECODED = {"mask_policy": "full", "teacher_iterations": 4}


class System(NamedTuple):
    """A run of an experiment, and the decoder passes its model is evaluated at; none: its training log is all."""

    run: Run
    iterations: Sequence[int] = ()


Systems = dict[str, System]


@dataclass(frozen=True)
class Experiment:
    """
    A table or figure of the paper.

    Args:
        title (`str`): what is shown.
        source (`str`): where in the paper.
        claim (`str`): what the paper says of it, in our words and without its numbers.
        systems (`Callable[[Study, int], Systems]`): label to run, for one seed.
        verdicts (`Callable`): from the document to its verdicts.
        table (`Callable`): from the document to header and rows.
        figure (`Callable`, *optional*): draws the document into a file.
        adds (`Callable`, *optional*): adds to the document what is read from files of its runs.
    """

    title: str
    source: str
    claim: str
    systems: Callable[[Study, int], Systems]
    verdicts: Callable[[Mapping[str, Any]], list[dict[str, Any]]]
    table: Callable[[Mapping[str, Any]], tables.Table]
    figure: Callable[[Mapping[str, Any], Path], Path] | None = None
    adds: Callable[[dict[str, Any], Any], None] | None = None


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
        "source": experiment.source,
        "claim": experiment.claim,
    }


def find_experiments(names: Sequence[str] | None) -> list[str]:
    """
    The experiments asked for, in the order of the paper; all without a request.

    Raises:
        ValueError: for a name that is none.
    """
    for name in names or ():
        if name not in EXPERIMENTS:
            raise ValueError(f"There is no experiment {name!r}. Choose from {', '.join(EXPERIMENTS)}.")
    return [name for name in EXPERIMENTS if names is None or name in names]


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
    return {momentum_label(decay): System(study.student(seed, ema_decay=decay)) for decay in study.budget.ema_decays}


def momentum_label(decay: float | None) -> str:
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
    unknown = [family for family, _ in pairs if family not in FAMILIES]
    if unknown:
        raise ValueError(f"There is no family {unknown[0]!r} of teachers. Choose from {', '.join(FAMILIES)}.")
    return pairs


def _alignments(study: Study, seed: int) -> Systems:
    """Models of alignments, the students among them, beside models that predict a length."""
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
    return {
        **_one_pass_of_teacher(study, seed),
        "U-DiMS": System(study.student(seed, unsupervised=True), (1,)),
        "DiMS": System(study.student(seed), (1,)),
    }


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
        **{f"n = {count}": {"teacher_iterations": count} for count in budget.teacher_iterations if count != passes},
        f"{other_policy} masks": {"mask_policy": other_policy},
    }
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
    return {momentum_label(decay): System(study.student(seed, ema_decay=decay)) for decay in decays}


# ---- the experiments, in the order of the report ----

EXPERIMENTS: dict[str, Experiment] = {
    "fig3": Experiment(
        title="Quality against decoder passes, teacher and student",
        source=f"Fig. 3 of {PAPER}",
        claim="One pass of the student is far better than one pass of its teacher and worth several of them; with "
        "more passes the two come closer.",
        systems=_curves,
        verdicts=verdicts.iterations_verdicts,
        table=tables.scores,
        figure=figures.quality_versus_iterations,
    ),
    "fig4": Experiment(
        title="A moving average against rounds of distillation",
        source=f"Fig. 4 and §4.6.1 of {PAPER}",
        claim="Repeating distillation, each student being the next teacher, keeps improving a single pass; a teacher "
        "that follows the student by a moving average gets there in a fraction of the training.",
        systems=_rounds,
        verdicts=verdicts.rounds_verdicts,
        table=tables.rounds,
        figure=figures.rounds,
    ),
    "fig5": Experiment(
        title="BLEU by target length",
        source=f"Fig. 5 of {PAPER}",
        claim="The student's single pass is better at every target length, and most of all on long targets.",
        systems=_one_pass,
        verdicts=verdicts.buckets_verdicts,
        table=tables.length_buckets,
        figure=figures.length_buckets,
    ),
    "fig6": Experiment(
        title="Length prediction, teacher and student",
        source=f"Fig. 6 of {PAPER}",
        claim="Distillation trains the length predictor along; the student's predicts lengths at least as well as its "
        "teacher's.",
        systems=_one_pass,
        verdicts=verdicts.lengths_verdicts,
        table=tables.lengths,
        figure=figures.lengths,
    ),
    "fig7": Experiment(
        title="Momentum of the moving average, over training",
        source=f"Fig. 7 and §4.6.2 of {PAPER}",
        claim="A slow moving average ends above a fixed teacher; there is a broad range of good momenta, and too "
        "small a momentum spoils training.",
        systems=_momentum,
        verdicts=verdicts.momentum_verdicts,
        table=tables.last_validation,
        figure=figures.validation_curves,
    ),
    "fig8": Experiment(
        title="Weight λ of the hidden-state loss",
        source=f"Fig. 8 of {PAPER}",
        claim="The hidden-state loss helps, over a broad range of its weight.",
        systems=_weights,
        verdicts=verdicts.weights_verdicts,
        table=tables.scores,
        figure=figures.weights,
    ),
    "fig9": Experiment(
        title="Cost of training a teacher and of distilling it",
        source=f"Fig. 9 of {PAPER}",
        claim="Distilling a teacher takes a small part of what training it took.",
        systems=_costs,
        verdicts=verdicts.cost_verdicts,
        table=tables.costs,
        figure=figures.costs,
    ),
    "table1": Experiment(
        title="Raw and distilled training data",
        source=f"Tables 1 and 3 of {PAPER}",
        claim="A single pass gains on sequence-level distilled data as well as on raw data, and more on raw data, "
        "where the teacher's single pass is worse.",
        systems=_corpora,
        verdicts=verdicts.corpora_verdicts,
        table=tables.scores,
    ),
    "table2": Experiment(
        title="Models of alignments: CTC, FullyNAT, Imputer and its student",
        source=f"Table 2, §4.3 and Appendix F of {PAPER}",
        claim="An Imputer, too, can be distilled into one pass that is far better than its own first pass; with it, "
        "one pass is competitive with models made for one pass.",
        systems=_alignments,
        verdicts=verdicts.alignments_verdicts,
        table=tables.timed_scores,
    ),
    "table4": Experiment(
        title="U-DiMS: sources alone",
        source=f"Table 4 of {PAPER}",
        claim="With the teacher's own translations in place of references, most of the gain remains.",
        systems=_unsupervised,
        verdicts=verdicts.unsupervised_verdicts,
        table=tables.scores,
    ),
    "table5": Experiment(
        title="Ablation of moving average, hidden-state loss, teacher passes and masks",
        source=f"Table 5 of {PAPER}",
        claim="Distillation alone gives most of the gain, the hidden-state loss and then the moving average add to "
        "it; more than two teacher passes add little.",
        systems=_ablation,
        verdicts=verdicts.ablation_verdicts,
        table=tables.scores,
    ),
    "table6": Experiment(
        title="Sample translations, one pass of teacher and student",
        source=f"Table 6 of {PAPER}",
        claim="One pass of the teacher repeats tokens and mixes translations; one pass of the student does so less.",
        systems=_one_pass,
        verdicts=verdicts.samples_verdicts,
        table=tables.samples,
        adds=tables.add_samples,
    ),
    "table7": Experiment(
        title="The teachers at their full number of passes",
        source=f"Table 7 of {PAPER}",
        claim="The teachers that are distilled are as good as published ones when they iterate; the corrected one "
        "(CMLMC) is the better of the two.",
        systems=_teachers_at_ten,
        verdicts=verdicts.teachers_verdicts,
        table=tables.scores,
    ),
    "collapse": Experiment(
        title="Collapse at a small momentum",
        source=f"§4.6.2 of {PAPER}",
        claim="With a momentum of 0.9 or less the teacher follows too fast, and the two collapse together.",
        systems=_collapse,
        verdicts=verdicts.collapse_verdicts,
        table=tables.last_validation,
        figure=figures.validation_curves,
    ),
}
