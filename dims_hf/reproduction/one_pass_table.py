# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Table 1: what is added to its document, its columns, and its figure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dims_hf.reports.figures import STYLES, new_figure, save_figure
from dims_hf.reproduction import frames, tables
from dims_hf.reproduction.frames import Document
from dims_hf.reproduction.one_pass import SYSTEMS, num_updates, one_pass_run, stages_of, systems_on
from dims_hf.reproduction.running import Runner
from dims_hf.reproduction.speed import BATCH_SIZES


# Column of a row -> its title and digits.
_SCORES = {
    "bleu": ("BLEU", 1), "valid": ("valid outputs, %", 1), "brevity_penalty": ("BP", 3), "chrf": ("chrF", 1),
    "bleu_before_collapse": ("BLEU raw", 1), "repeated_tokens": ("repeated tokens, %", 1),
    "mixture_before_collapse": ("mixtures, %", 1),
}  # fmt: skip
_RUNTIMES = {"torch": "torch", "int8": "int8"}

# Inches of a row of the figure.
_ROW_HEIGHT = 0.16


def add_costs_and_speed(document: dict[str, Any], runner: Runner) -> None:
    """
    Adds to every system its `name`, `corpus`, what it `begins_with` and its `stages` (updates, cost of one beside one
    of CMLM's, seconds), and to the document the `speed` of every decoding and `remarks`.

    Speed is that of the first seed on the first corpus: weights hardly change it.

    Args:
        document (`dict`): of Table 1; changed.
        runner ([`Runner`]): its runs are done and evaluated.
    """
    study, speed = runner.study, {}
    for corpus in study.budget.one_pass_corpora:
        for name in systems_on(corpus):
            for seed, system in document["systems"][f"{name}, {corpus}"].items():
                run = one_pass_run(study, name, int(seed), corpus)
                system.update(name=name, corpus=corpus, begins_with=SYSTEMS[name].begins_with)
                system["stages"] = list(_stages(runner, name, int(seed), corpus))
                if name not in speed and system["collapsed"] is None:
                    decodings = SYSTEMS[name].decodings
                    speed[name] = {key: runner.speed(run, key, options) for key, options in decodings.items()}
    document["speed"] = speed
    document["remarks"] = [_describe_budget(runner), _describe_speed(runner)]


def _stages(runner: Runner, name: str, seed: int, corpus: str) -> Iterator[dict[str, Any]]:
    """What every training of a system took, its own last."""
    names = stages_of(name)
    for place, each in enumerate(names):
        num_later = len(names) - 1 - place
        run = one_pass_run(runner.study, each, seed, corpus, num_later=num_later)
        outcome = runner.outcomes.get(run.identity)
        summary = (outcome.summary if outcome is not None else None) or {}
        updates = num_updates(runner.study, each, num_later=num_later) * run.settings.get("rounds", 1)
        cost = SYSTEMS[each].cost
        yield {"system": each, "updates": updates, "cost": cost, "seconds": summary.get("train_runtime")}


def _describe_budget(runner: Runner) -> str:
    budget = runner.study.budget
    return (
        f"Every system is trained for the time of {budget.one_pass_updates} updates of a CMLM: updates times the cost "
        "of one, as measured beside CMLM's, come to that number, stages before the last included (of which a student "
        f"and every last stage has {100 * budget.last_stage_share:g} %). Corpora and the autoregressive teacher "
        "(tokenizer, distilled targets, hints, ENGINE) are not counted. Hours are what the trainings took, "
        "evaluations on the way included."
    )


def _describe_speed(runner: Runner) -> str:
    count = runner.study.budget.num_speed_sentences
    return (
        f"Milliseconds per sentence from token ids to token ids, on one thread, {count} sentences of the test set, "
        "one by one and 32 at a time, median of three rounds: torch in fp32; int8 in ONNX Runtime, of autoregressive "
        "models in CTranslate2."
    )


def one_pass_table(document: Document) -> tables.Table:
    """
    Every system at every decoding on every corpus: scores as mean and range over seeds, milliseconds, training and
    hours; documents of an earlier release as [`tables.scores`].
    """
    if "speed" not in document:
        return tables.scores(document)
    rows = [
        {
            **_names(document, label, decoding),
            **_scores(document, label, decoding),
            **_costs(document, label, decoding),
        }
        for label, seeds in document["systems"].items()
        for decoding in _decodings(seeds)
    ]
    header = [title for title in rows[0] if any(row[title] for row in rows)]
    return header, [[row[title] for title in header] for row in rows]


def _decodings(seeds: Mapping[str, Any]) -> list[str]:
    """Names of decodings, in their order; one empty name where every seed collapsed."""
    return list(dict.fromkeys(name for system in seeds.values() for name in system["records"])) or [""]


def _names(document: Document, label: str, decoding: str) -> dict[str, str]:
    system = next(iter(document["systems"][label].values()))
    return {"system": system["name"], "targets": system["corpus"], "decoding": decoding or "collapsed"}


def _scores(document: Document, label: str, decoding: str) -> dict[str, str]:
    frame = frames.scores_frame({"systems": {label: document["systems"][label]}})
    chosen = frame[frame["decoding"] == decoding]
    return {title: tables.spread(chosen[column], digits) for column, (title, digits) in _SCORES.items()}


def _costs(document: Document, label: str, decoding: str) -> dict[str, str]:
    seeds = document["systems"][label]
    first = next(iter(seeds.values()))
    speed = document["speed"].get(first["name"], {}).get(decoding, {})
    times = {
        f"ms, {title}, batch {size}": _milliseconds(speed.get(runtime, {}).get(str(size)))
        for runtime, title in _RUNTIMES.items()
        for size in BATCH_SIZES
    }
    training = " + ".join(f"{stage['updates']} × {stage['cost']:g}" for stage in first["stages"])
    hours = [_hours(system["stages"]) for system in seeds.values()]
    return {**times, "updates × cost": training, "hours": tables.spread(hours, 2)}


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _hours(stages: Sequence[Mapping[str, Any]]) -> float | None:
    seconds = [stage["seconds"] for stage in stages]
    return None if None in seconds else sum(seconds) / 3600


def draw_table(document: Document, path: Path) -> Path:
    """A row per system and decoding, the mean of its seeds as a point for each corpus, a panel per metric."""
    metrics = frames.metrics_of(document)
    rows = list(dict.fromkeys(row for label in document["systems"] for row in _rows(document, label)))
    figure, panels = new_figure(1, len(metrics))
    figure.set_size_inches(figure.get_size_inches()[0], 1.5 + _ROW_HEIGHT * len(rows))
    for axes, metric in zip(panels[0], metrics, strict=True):
        for index, corpus in enumerate(_corpora(document)):
            color, marker = STYLES[index]
            points = [(_mean(document, *row, corpus, metric), place) for place, row in enumerate(rows)]
            points = [point for point in points if point[0] is not None]
            if points:
                axes.plot(*zip(*points), color=color, marker=marker, markersize=4, linestyle="none", label=corpus)
        axes.set_yticks(range(len(rows)), [", ".join(row) for row in rows], fontsize=6)
        axes.invert_yaxis()
        axes.grid(color="#dddddd", linewidth=0.4)
        axes.set_xlabel(frames.METRICS[metric][0])
        axes.legend(frameon=False, fontsize=7)
    for axes in panels[0][1:]:
        axes.set_yticklabels([])
    return save_figure(figure, path)


def _rows(document: Document, label: str) -> list[tuple[str, str]]:
    """Name and decodings of a system; of a document of an earlier release, its label and passes."""
    seeds = document["systems"][label]
    name = next(iter(seeds.values())).get("name", label)
    return [(name, decoding) for decoding in _decodings(seeds)]


def _corpora(document: Document) -> list[str]:
    found = (system.get("corpus", "") for seeds in document["systems"].values() for system in seeds.values())
    return list(dict.fromkeys(found))


def _mean(document: Document, name: str, decoding: str, corpus: str, metric: str) -> float | None:
    label = f"{name}, {corpus}" if corpus else name
    found = [frames.value(document, label, seed, decoding, metric) for seed in document["systems"].get(label, {})]
    known = [value for value in found if value == value]
    return statistics.fmean(known) if known else None
