# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf reproduce`: plans the experiments, does their runs, writes documents, figures and the report."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dims_hf._output import holding
from dims_hf.recipes.launching import Processes, find_processes
from dims_hf.recipes.parsing import parse_recipe
from dims_hf.reproduction import documents
from dims_hf.reproduction.budgets import BUDGETS, BudgetOverrides, find_budget
from dims_hf.reproduction.claims import check
from dims_hf.reproduction.plan import EXPERIMENTS, PAPER, find_experiments, head_of, runs_of, systems_of
from dims_hf.reproduction.report import RESULTS, plan_table, read_notes, write_report
from dims_hf.reproduction.running import Runner, total_seconds
from dims_hf.reproduction.study import Run, Study, in_order
from dims_hf.translation.loading import resolve_model


# What every reader of Markdown shows.
_FIGURE_SUFFIX = ".png"

NOTES = "notes.yaml"


@dataclass
class ReproductionArguments:
    """What to reproduce, on which corpus, and where results go."""

    data: str = field(default="phrasebook", metadata={"help": "`phrasebook`, a folder, JSONL, or a Hub dataset id."})
    source_lang: str | None = field(default=None, metadata={"help": "Source language; not for phrasebook."})
    target_lang: str | None = field(default=None, metadata={"help": "Target language; not for phrasebook."})
    data_config: str | None = field(default=None, metadata={"help": "Configuration of a Hub dataset."})
    budget: str = field(default="cpu-afternoon", metadata={"help": "Size of everything.", "choices": tuple(BUDGETS)})
    only: Sequence[str] | None = field(default=None, metadata={"help": f"Some of {', '.join(EXPERIMENTS)}."})
    output_dir: str = field(default="reproduction", metadata={"help": "Folder of runs, results and report."})
    teacher: str | None = field(default=None, metadata={"help": "A trained CMLM teacher, instead of training one."})
    student: str | None = field(default=None, metadata={"help": "Its student, instead of distilling one."})
    notes: str | None = field(
        default=None, metadata={"help": f"YAML, experiment to paragraph; default: {NOTES} in output_dir."}
    )
    runs_at_once: int | None = field(
        default=None, metadata={"help": "Runs beside each other; default: one per core on a CPU, two at most; else 1."}
    )
    dry_run: bool = field(default=False, metadata={"help": "Show the plan; with steps, try its runs."})
    steps: int | None = field(default=None, metadata={"help": "Updates of every run of a dry run."})
    list: bool = field(default=False, metadata={"help": "Show the experiments."})

    def __post_init__(self) -> None:
        if self.steps is not None and not self.dry_run:
            raise ValueError("steps is for a dry run. Add --dry_run, or set max_teacher_steps and max_student_steps.")
        if self.runs_at_once is not None and self.runs_at_once < 1:
            raise ValueError(f"runs_at_once must be >= 1, got {self.runs_at_once}.")


def reproduce(argv: Sequence[str] | None = None) -> int:
    """
    Regenerates tables and figures of the DiMS paper on a corpus.

    Args:
        argv (`Sequence[str]`, *optional*): names of [`ReproductionArguments`] and of the budget's fields; default: the
            process's arguments.

    Returns:
        `int`: 0, or 1 when a run failed.

    Raises:
        ValueError: for a wrong request, before any training.
    """
    arguments, overrides = parse_recipe((ReproductionArguments, BudgetOverrides), argv)
    if arguments.list:
        sys.stdout.write(_list_experiments())
        return 0
    names, study = find_experiments(arguments.only), make_study(arguments, asdict(overrides))
    output_dir = Path(arguments.output_dir)
    runs = runs_of(names, study)
    if arguments.dry_run:
        _say(describe_plan(runs, names, study))
        if arguments.steps is None:
            return 0
        return try_runs(runs, make_runner(output_dir / "dry_run", study, arguments.runs_at_once))
    if study.budget.precision == "fp16" and not find_processes().on_gpu:
        raise ValueError("fp16 needs a GPU. Add --precision bf16, or --dry_run to see the plan only.")
    notes = _find_notes(arguments.notes, output_dir)
    return run_experiments(names, make_runner(output_dir, study, arguments.runs_at_once), notes)


def make_runner(output_dir: Path, study: Study, runs_at_once: int | None = None) -> Runner:
    """On GPUs, a run has all of them; on a CPU, every run has a core of its own, so that none waits for another."""
    machine = find_processes()
    if machine.on_gpu and runs_at_once not in (None, 1):
        raise ValueError(f"On GPUs a run has all of them, and runs_at_once is {runs_at_once}. Leave it out.")
    if runs_at_once is None:
        runs_at_once = 1 if machine.on_gpu else machine.count
    share = Processes(max(1, machine.count // runs_at_once), machine.on_gpu)
    return Runner(output_dir, study, runs_at_once, processes=share, say=_say)


def make_study(arguments: ReproductionArguments, overrides: Mapping[str, Any]) -> Study:
    """The corpus at the budget that was asked for."""
    given = {name: value for name, value in overrides.items() if value is not None}
    for model in filter(None, (arguments.teacher, arguments.student)):
        resolve_model(model)
    return Study(
        data=arguments.data,
        budget=find_budget(arguments.budget, arguments.data, given),
        source_lang=arguments.source_lang,
        target_lang=arguments.target_lang,
        data_config=arguments.data_config,
        given_teacher=arguments.teacher,
        given_student=arguments.student,
        dry_steps=arguments.steps,
    )


def run_experiments(names: Sequence[str], runner: Runner, notes: Mapping[str, str] | None = None) -> int:
    """
    Does the runs of some experiments, then writes each one's document and figure, and the report over all.

    Returns:
        `int`: 0, or 1 when a run failed.
    """
    with holding(runner.output_dir):
        runner.do(runs_of(names, runner.study))
        for name in names:
            document = render(name, runner)
            runner.say(f"{name}: {document['status']}")
        report = write_report(runner.output_dir, notes)
    runner.say(f"Written: {report}")
    failed = [outcome for outcome in runner.outcomes.values() if outcome.error]
    for outcome in failed:
        runner.say(f"error: {outcome.run.folder_name}: {outcome.error}")
    return 1 if failed else 0


def render(name: str, runner: Runner) -> dict[str, Any]:
    """An experiment's document, with its verdicts, and its figure, both written; its runs are done."""
    experiment, folder = EXPERIMENTS[name], runner.output_dir / RESULTS
    systems = {seed: dict(labelled) for seed, labelled in systems_of(name, runner.study).items()}
    document = documents.collect(head_of(name), systems, runner)
    if document["status"] == "run":
        if experiment.adds is not None:
            experiment.adds(document, runner)
        document["verdicts"] = check(document, experiment.claims(document))
        if experiment.figure is not None:
            figure = experiment.figure(document, folder / f"{name}{_FIGURE_SUFFIX}")
            document["figure"] = figure.name
    documents.save(document, folder)
    return document


def try_runs(runs: Sequence[Run], runner: Runner) -> int:
    """The first updates of every run; nothing is evaluated."""
    with holding(runner.output_dir):
        runner.do(runs)
    failed = [outcome for outcome in runner.outcomes.values() if outcome.error]
    runner.say(f"{len(runs) - len(failed)} of {len(runs)} runs start.")
    return 1 if failed else 0


def describe_plan(runs: Sequence[Run], names: Sequence[str], study: Study) -> str:
    """The runs of a plan, what each is for, and what all of them should take."""
    needed_by: dict[str, list[str]] = {run.identity: [] for run in runs}
    for name in names:
        systems = systems_of(name, study).values()
        for run in in_order(system.run for labelled in systems for system in labelled.values()):
            needed_by[run.identity].append(name)
    hours, budget = total_seconds(runs) / 3600, study.budget
    return (
        f"{study.data} {study.source_lang}-{study.target_lang}: {len(names)} experiments, "
        f"seeds {' '.join(map(str, budget.seeds))}\n\n{plan_table(runs, needed_by)}\n"
        f"{len(runs)} runs, about {hours:.1f} hours of training on the hardware this budget is for."
    )


def _find_notes(path: str | None, output_dir: Path) -> dict[str, str]:
    if path is not None and not Path(path).is_file():
        raise ValueError(f"The notes {path} do not exist. Give a YAML file, experiment to paragraph.")
    place = Path(path) if path is not None else output_dir / NOTES
    return read_notes(place) if place.is_file() else {}


def _list_experiments() -> str:
    width = max(map(len, EXPERIMENTS))
    return "".join(f"{name:<{width}}  {each.title} ({each.source} of {PAPER})\n" for name, each in EXPERIMENTS.items())


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
